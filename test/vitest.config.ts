import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('..', import.meta.url));
/** unit: pure and fast. sim: seeds. real: sockets, level, git, processes. root: engine, namespaces, needs root. */
const project = (name: string, include: string[], more: object = {}) => ({
  extends: true as const,
  test: { name, include, ...more },
});
// As deploy/bundle.mjs does it, so that tests pack in a thread and start programs by a process too.
const program = (file: string): string =>
  JSON.stringify(
    buildSync({
      absWorkingDir: root,
      entryPoints: [file],
      bundle: true,
      platform: 'node',
      format: 'cjs',
      write: false,
    }).outputFiles[0]?.text,
  );

const endToEnd = {
  testTimeout: 400_000,
  fileParallelism: false,
  globalSetup: ['test/root/engine.ts', 'test/e2e/bundle.ts'],
};
/**
 * Three projects run at the same time, as most of a test with GitLab is waiting: those of a GitLab on the machine's engine,
 * those of jobs on it or on an engine of their own, and those that use neither the engine nor the LAN of the others.
 */
const ofRoot = (name: string): string => `test/root/${name}.test.ts`;
const rootJobs = [
  ...['disk-full-docker', 'engine-away', 'engine-silent', 'executor-docker', 'executor-docker-hostile'],
  ...['executor-handover', 'gitlab-move', 'image-keeping', 'image-policy', 'run-docker', 'work-disk-full'],
].map(ofRoot);
const rootBeside = [
  ...['clean-spawn', 'data-place', 'data-place-mounts', 'disk-full-store', 'executor-auto', 'executor-user'],
  ...['discovery', 'discovery-trouble', 'forward-process', 'gate-guard-ipv6', 'gate-tls-process', 'local-name'],
  ...['gitlab-brought', 'gitlab-copies', 'gitlab-living', 'gitlab-roles', 'gitlab-swap', 'gitlab-vault'],
  ...['image-records-full', 'protect-kept', 'redis-log', 'regain', 'replica-cuts', 'replica-disk'],
  ...['replica-hook', 'same-moment', 'service-install', 'sleep-watch'],
].map(ofRoot);
const e2eBeside = [
  ...['lab', 'gitlab-away', 'lost-answer', 'notices'].map((name) => `test/e2e/${name}.test.ts`),
  ofRoot('gitlab-takeover'),
];

const asRoot = { testTimeout: 400_000, fileParallelism: false, globalSetup: ['test/root/engine.ts'] };

export default defineConfig({
  root,
  define: {
    __PACK_THREAD__: program('node/runs/pack-thread.ts'),
    __STARTER_PROGRAM__: program('node/starter/starter-process.ts'),
  },
  test: {
    environment: 'node',
    setupFiles: ['node/polyfill.ts'],
    reporters: ['default', './test/run-notes.ts'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/tidy.test.ts', 'test/docs.test.ts']),
      project('sim', ['test/sim/**/*.test.ts'], { testTimeout: 600_000 }),
      project('real', ['test/practice/**/*.test.ts', 'test/real/**/*.test.ts'], {
        testTimeout: 60_000,
        hookTimeout: 240_000,
      }),
      project('browser', ['test/browser/**/*.test.ts'], {
        testTimeout: 400_000,
        fileParallelism: false,
        globalSetup: ['test/e2e/bundle.ts'],
      }),
      project('root', ['test/root/**/*.test.ts'], { ...asRoot, exclude: [...rootJobs, ...rootBeside, ...e2eBeside] }),
      project('root-jobs', rootJobs, asRoot),
      project('root-beside', rootBeside, asRoot),
      project('e2e', ['test/e2e/**/*.test.ts'], { ...endToEnd, exclude: e2eBeside }),
      project('e2e-beside', e2eBeside, { ...endToEnd, env: { AUTOGIT_LAB: 'elab' } }),
    ],
  },
});
