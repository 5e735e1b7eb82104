/** The promise, or the error when that many milliseconds have passed. What comes later of the promise is heard by nobody. */
export async function within<T>(promise: Promise<T>, ms: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), ms)
  })
  promise.catch(() => undefined)
  try {
    return await Promise.race([promise, passed])
  } finally {
    clearTimeout(timer)
  }
}
