/** Version of this package, as `postrider.relays` shows it. */
export const version = '0.1.0'
