/** How tests start another Node of this workspace: `spawn(process.execPath, [...nodeArgs, 'main.ts'])` runs from source, without a build. */
export const nodeArgs: readonly string[] = ['--conditions=@postrider/source']
