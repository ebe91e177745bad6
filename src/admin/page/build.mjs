// Builds the page into the folder given, or else into `built` beside this file: the same bytes each time.
import { build } from 'esbuild';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, 'built');

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { page: 'page.ts', style: 'style.css' },
  outdir: out,
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  banner: { js: '/* Contains uPlot, (c) Leon Sorokin, MIT: see LICENSES.txt. */' },
});
for (const name of ['index.html', 'icon.svg']) await copyFile(join(here, name), join(out, name));
const licence = await readFile(join(here, 'node_modules', 'uplot', 'LICENSE'), 'utf8');
await writeFile(join(out, 'LICENSES.txt'), `page.js and style.css contain uPlot:\n\n${licence}`);
