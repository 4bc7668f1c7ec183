// npm runs this before it packs, and after an install from git or in a checkout: what is not committed is built. Where the tools to
// build with were left out (`npm ci --omit=dev`) an install must not fail: there is only nothing to start.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

const hasTools = createRequire(import.meta.url)
  .resolve.paths('esbuild')
  .some((folder) => existsSync(`${folder}/esbuild/package.json`));
if (hasTools) await import('./bundle.mjs');
else
  console.log('autogit-node: not built, since development packages were left out; for dist/: npm ci && npm run build');
