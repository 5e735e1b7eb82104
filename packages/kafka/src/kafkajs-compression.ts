import { promisify } from 'node:util'
import { zstdCompress, zstdDecompress } from 'node:zlib'
import type { Internals } from './kafkajs-internals.ts'

const compress = promisify(zstdCompress)
const decompress = promisify(zstdDecompress)

/** Gives kafkajs the zstd of Node, unless somebody has given it another. */
export function addZstd({ Types, Codecs }: Internals['compression']): void {
  try {
    Codecs[Types.ZSTD]?.()
  } catch {
    Codecs[Types.ZSTD] = () => ({
      compress: async ({ buffer }: { buffer: Buffer }) => await compress(buffer),
      decompress: async (buffer: Buffer) => await decompress(buffer),
    })
  }
}
