// Bundles the agent into one file, dist/agent.js. Only classic-level stays outside: it is a native addon
// whose prebuilt binary is looked up beside its own package. Native parts of ssh2 (pulled in by dockerode for
// ssh:// engines) are optional; it falls back to JavaScript when they cannot be required.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { version, dependencies, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
// What CommonJS packages expect to find in their module scope.
const commonJs = [
  "import { createRequire as __createRequire } from 'node:module';",
  "import { fileURLToPath as __fileURLToPath } from 'node:url';",
  'const require = __createRequire(import.meta.url);',
  'const __filename = __fileURLToPath(import.meta.url);',
  "const __dirname = __fileURLToPath(new URL('.', import.meta.url));",
].join('');

// dockerode's sessions with BuildKit bring gRPC and protobuf (6 MiB of memory, 150 ms of start); we never build images.
const noBuildKit = {
  name: 'no-buildkit',
  setup(esbuild) {
    esbuild.onResolve({ filter: /^\.\/(session|buildkit)$/ }, ({ path, importer }) =>
      /dockerode[\\/]lib[\\/]/.test(importer) ? { path, namespace: 'no-buildkit' } : undefined,
    );
    esbuild.onLoad({ filter: /.*/, namespace: 'no-buildkit' }, () => ({
      contents: "module.exports = () => { throw new Error('no BuildKit in autogit-node'); };",
    }));
  },
};

mkdirSync(join(root, 'dist'), { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: ['node/main.ts'],
  outfile: 'dist/agent.js',
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  minify: true,
  legalComments: 'none',
  external: [...Object.keys(dependencies), '*.node'],
  define: { __VERSION__: JSON.stringify(version) },
  banner: { js: commonJs },
  plugins: [noBuildKit],
  logLevel: 'warning',
});

// The bin is written in syntax that a Node of ten years ago can parse, so that it can say what is wrong.
const least = /(\d+)\.(\d+)/.exec(engines.node);
writeFileSync(
  join(root, 'dist', 'autogit-node.cjs'),
  `#!/usr/bin/env node
var v = process.versions.node.split('.');
if (+v[0] < ${least[1]} || (+v[0] === ${least[1]} && +v[1] < ${least[2]})) {
  console.error('autogit-node needs Node.js ${least[0]} or newer; this is ' + process.version + '. Install a newer one: https://nodejs.org');
  process.exit(1);
}
// Where Node can keep compiled code (22 and newer), the next start need not compile it again.
var loader = require('module');
if (loader.enableCompileCache) loader.enableCompileCache();
import('./agent.js').then(function (m) { return m.main(process.argv.slice(2)); });
`,
);
chmodSync(join(root, 'dist', 'autogit-node.cjs'), 0o755);
