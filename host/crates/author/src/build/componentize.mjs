// Makes a component of a module: ENTRY WIT WORLD OUT. Runs in the project's folder, whose packages it uses.
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { componentize } from '@bytecodealliance/componentize-js';

const [entry, witPath, worldName, out] = process.argv.slice(1);
try {
  const { component } = await componentize({
    sourcePath: resolve(entry),
    witPath,
    worldName,
    // A plugin has what its world imports, and nothing of WASI.
    disableFeatures: ['http', 'fetch-event', 'stdio', 'random', 'clocks'],
  });
  await writeFile(out, component);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
