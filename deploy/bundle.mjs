// Bundles the agent into one file, dist/agent.cjs, which deploy/bin.cjs runs through V8's code cache. Only classic-level
// stays outside: it is a native addon whose prebuilt binary is looked up beside its own package. Native parts of ssh2 (pulled in by dockerode for
// ssh:// engines) are optional; it falls back to JavaScript when they cannot be required.
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { version, dependencies, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
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

// The thread that packs artifacts starts from a text of its own: small, and no second file beside the agent.
const thread = await build({
  absWorkingDir: root,
  entryPoints: ['node/runs/pack-thread.ts'],
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'cjs',
  minify: true,
  charset: 'ascii',
  write: false,
  logLevel: 'warning',
});

mkdirSync(join(root, 'dist'), { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: ['node/main.ts'],
  outfile: 'dist/agent.cjs',
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'cjs',
  // A script has no import(); CommonJS neither needs it nor asks the loader for it.
  supported: { 'dynamic-import': false },
  minify: true,
  // One byte a character in memory.
  charset: 'ascii',
  legalComments: 'none',
  external: [...Object.keys(dependencies), '*.node'],
  define: {
    __VERSION__: JSON.stringify(version),
    __PACK_THREAD__: JSON.stringify(thread.outputFiles[0].text),
    'import.meta.url': '__here',
  },
  banner: { js: "const __here = require('node:url').pathToFileURL(__filename).href;" },
  plugins: [noBuildKit],
  logLevel: 'warning',
});

rmSync(join(root, 'dist', 'agent.js'), { force: true });

const [least] = /\d+\.\d+/.exec(engines.node);
const bin = readFileSync(join(root, 'deploy', 'bin.cjs'), 'utf8');
writeFileSync(join(root, 'dist', 'autogit-node.cjs'), bin.replace('@LEAST@', least));
chmodSync(join(root, 'dist', 'autogit-node.cjs'), 0o755);
