#!/usr/bin/env node
// Installed, this starts the compiled program; in a checkout the sources, of this package and of its neighbours.
import { existsSync } from 'node:fs'
import { registerHooks } from 'node:module'

const installed = import.meta.dirname.split(/[\\/]/).includes('node_modules')
const source = new URL('../src/main.ts', import.meta.url)

if (installed || !existsSync(source)) await import('../dist/main.js')
else {
  registerHooks({
    resolve: (specifier, context, next) =>
      next(specifier, { ...context, conditions: [...context.conditions, '@postrider/source'] }),
  })
  await import(source.href)
}
