/** `payload.items[2]["unit price"]`: where a value stands, as one would write it in code. */
export function formatPath(root: string, keys: readonly PropertyKey[]): string {
  let path = root
  for (const key of keys) {
    if (typeof key === 'number') path += `[${key}]`
    else if (typeof key === 'symbol') path += `[${String(key)}]`
    else path += /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`
  }
  return path
}
