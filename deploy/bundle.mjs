// Bundles the agent into one file, dist/agent.cjs, which deploy/bin.cjs runs through V8's code cache. Only classic-level
// stays outside: it is a native addon whose prebuilt binary is looked up beside its own package.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { leftOut } from './left-out.mjs';
import { builtPage } from './page.mjs';
import { trimmedMap } from './source-map.mjs';
import { billOfMaterials, bundledPackages, installedPackages, notices } from './third-party.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const readJson = (name) => JSON.parse(readFileSync(join(root, name), 'utf8'));
const self = readJson('package.json');
const lock = readJson('package-lock.json');
const { version, dependencies, engines } = self;

const small = (file, minify, plugins = []) =>
  build({
    plugins,
    legalComments: 'none',
    absWorkingDir: root,
    entryPoints: [file],
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'cjs',
    minify,
    charset: 'ascii',
    write: false,
    metafile: true,
    logLevel: 'warning',
  });
// The packing thread and the starter's process run a text of their own: small, and no second file beside the agent.
const thread = await small('node/runs/pack-thread.ts', true);
const starter = await small('node/starter/starter-process.ts', true);
// The watchdog of runs: a small program beside the agent, which must start fast and takes the memory of a bare Node. Its stacks are read as they are.
const watchdog = await small('node/watchdog/watchdog-process.ts', false);
// The gate before a hosted GitLab, likewise: all of GitLab's traffic goes through it.
const gate = await small('node/hosting/gate/gate-process.ts', false);
// What hands on to it on every other machine, likewise.
const forward = await small('node/hosting/forward/forward-process.ts', false);

// The practice GitLab, with GraphQL and RE2: read only when somebody starts one, and in no agent's memory.
const practice = await small('gitlab-bridge/practice/cli-entry.ts', true, [leftOut]);
/** Our own import() of it becomes one of the file beside the agent. */
const practiceBeside = {
  name: 'practice-beside',
  setup: (esbuild) =>
    esbuild.onResolve({ filter: /gitlab-bridge\/practice\/cli-entry\.ts$/ }, () => ({
      path: './practice.cjs',
      external: true,
    })),
};

// What Prometheus reads, with prom-client: read with the first scrape, and in no agent's memory before.
const metrics = await small('node/metrics/exposition.ts', true, [leftOut]);
const metricsBeside = {
  name: 'metrics-beside',
  setup: (esbuild) =>
    esbuild.onResolve({ filter: /\/metrics\/exposition\.ts$/ }, () => ({ path: './metrics.cjs', external: true })),
};

// What a browser gets of an agent: read from its files, and in no agent's memory.
const page = await builtPage(root);

// Mail and MQTT: read only by the machine that leads, where somebody is told by them.
const farNotices = await small('node/notices/far-senders.ts', true, [leftOut]);
const noticesBeside = {
  name: 'notices-beside',
  setup: (esbuild) =>
    esbuild.onResolve({ filter: /\/far-senders\.ts$/ }, () => ({ path: './notices.cjs', external: true })),
};

mkdirSync(join(root, 'dist', 'page'), { recursive: true });
const agent = await build({
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
  // The texts are in THIRD-PARTY.txt.
  legalComments: 'none',
  // Read only when a fault is shown (node/source-positions.ts): names that are kept would cost each start and each agent memory.
  sourcemap: 'external',
  sourcesContent: false,
  metafile: true,
  write: false,
  external: [...Object.keys(dependencies), '*.node'],
  define: {
    __VERSION__: JSON.stringify(version),
    __PACK_THREAD__: JSON.stringify(thread.outputFiles[0].text),
    __STARTER_PROGRAM__: JSON.stringify(starter.outputFiles[0].text),
    'import.meta.url': '__here',
  },
  banner: { js: "const __here = require('node:url').pathToFileURL(__filename).href;" },
  plugins: [leftOut, practiceBeside, metricsBeside, noticesBeside],
  logLevel: 'warning',
});

/** Whoever starts the agent at this moment finds the file of before or the new one, never a half. */
function write(name, text) {
  const file = join(root, 'dist', name);
  writeFileSync(`${file}.${process.pid}`, text, { mode: name === 'autogit-node.cjs' ? 0o755 : 0o644 });
  renameSync(`${file}.${process.pid}`, file);
}

const output = (end) => agent.outputFiles.find(({ path }) => path.endsWith(end)).text;
const parts = [agent, thread, starter, watchdog, gate, forward, practice, metrics, farNotices, page].map(
  ({ metafile }) => metafile,
);
const bundled = bundledPackages(root, parts, lock);
write('agent.cjs', output('.cjs'));
write('watchdog.cjs', watchdog.outputFiles[0].text);
write('gate.cjs', gate.outputFiles[0].text);
write('forward.cjs', forward.outputFiles[0].text);
write('practice.cjs', practice.outputFiles[0].text);
write('metrics.cjs', metrics.outputFiles[0].text);
for (const [name, bytes] of page.files) write(join('page', name), bytes);
write('runbook.md', readFileSync(join(root, 'docs', 'runbook.md'), 'utf8'));
write('notices.cjs', farNotices.outputFiles[0].text);
write(
  'agent.cjs.map',
  JSON.stringify(trimmedMap(JSON.parse(output('.map')), (source) => source.includes('node_modules/'))),
);
write('THIRD-PARTY.txt', notices(bundled));
write('sbom.cdx.json', `${JSON.stringify(billOfMaterials(self, bundled, installedPackages(root, lock)), null, 1)}\n`);
// Not published: what the tests hold the two lists against.
write('metafile.json', JSON.stringify(parts));
rmSync(join(root, 'dist', 'agent.js'), { force: true });

const [least] = /\d+\.\d+/.exec(engines.node);
const bin = readFileSync(join(root, 'deploy', 'bin.cjs'), 'utf8');
write('autogit-node.cjs', bin.replace('@LEAST@', least).replaceAll('@VERSION@', version));
