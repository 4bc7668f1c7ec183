// The page that an agent serves: a few files in dist/page/, each also compressed as a browser takes it, so that no agent compresses anything.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const folder = 'node/page/app';

/** Its files by name, and esbuild's record of what is in them. */
export async function builtPage(root) {
  const made = await build({
    absWorkingDir: root,
    entryPoints: { page: `${folder}/main.tsx` },
    outdir: 'dist/page',
    bundle: true,
    format: 'esm',
    platform: 'browser',
    // Browsers of the last three years; what is older is told by the page itself that it needs more.
    target: ['chrome110', 'firefox115', 'safari16.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    minify: true,
    charset: 'utf8',
    legalComments: 'none',
    tsconfig: join(root, folder, 'tsconfig.json'),
    write: false,
    metafile: true,
    logLevel: 'warning',
  });
  const style = await build({
    absWorkingDir: root,
    entryPoints: { page: `${folder}/page.css` },
    outdir: 'dist/page',
    bundle: true,
    minify: true,
    write: false,
    logLevel: 'warning',
  });
  const files = new Map([
    ['page.js', Buffer.from(made.outputFiles[0].contents)],
    ['page.css', Buffer.from(style.outputFiles[0].contents)],
    ...['index.html', 'icon.svg'].map((name) => [name, readFileSync(join(root, folder, name))]),
  ]);
  for (const [name, bytes] of [...files]) {
    files.set(`${name}.gz`, gzipSync(bytes, { level: 9 }));
    files.set(
      `${name}.br`,
      brotliCompressSync(bytes, {
        params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
      }),
    );
  }
  return { files, metafile: made.metafile };
}
