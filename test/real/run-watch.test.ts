import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { RunWatch } from '../../node/agent/run-watch.ts';
import { watchdogPid, writeBeat } from '../../node/watchdog/watchdog.ts';
import { readBeatId } from '../../node/watchdog/watchdog-beat.ts';
import { RunLab, until } from './run-lab.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'dist', `t-run-watch-${process.pid}`);
const bin = join(folder, 'agent.mjs');
const child = join(root, 'test/real/watched-agent.ts');
let lab: RunLab;
let agent: ChildProcess | null = null;

beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: [child],
    outfile: bin,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['classic-level'],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'error',
  });
});
afterEach(async () => {
  agent?.kill('SIGKILL');
  const pid = watchdogPid(lab.home);
  if (pid !== null) process.kill(pid, 'SIGKILL');
  await lab.stop();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the watchdog knows of a run before its first step begins (SAFETY J1)', () => {
  it.each([
    ['the first one', 1],
    ['any one', 3],
  ])('an agent killed -9 at a line of its script, %s, leaves it frozen within 5 s', async (_, line) => {
    const file = join('/tmp', `t-disk-ticks-${process.pid}-${line}`);
    rmSync(file, { force: true });
    lab = await RunLab.start({
      '.gitlab-ci.yml': `count: { variables: { GIT_STRATEGY: none }, script: ['for i in $(seq 500); do echo "tick $i" >> ${file}; sleep 0.1; done'] }`,
    });
    const { gitlab, runnerToken, home } = lab;
    writeFileSync(join(lab.folder, 'agent.json'), JSON.stringify({ url: gitlab.url, token: runnerToken, home }));
    agent = spawn(process.execPath, [bin, lab.folder], { stdio: 'inherit' });
    const size = (): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    await until('the line', () => size() > 8 * (line - 1));
    agent.kill('SIGKILL');
    await sleep(5000);
    const before = size();
    await sleep(700);
    expect(size()).toBe(before);
    expect(before).toBeLessThan(8 * 60);
    rmSync(file);
  });
});

describe('a run that no watchdog reads of', () => {
  it('does not begin, and fails with the reason', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'never: { script: ["touch $CI_PROJECT_DIR/../../begun"] }' });
    const options = lab.options.bind(lab);
    lab.options = (store) => ({
      ...options(store),
      watched: () => Promise.reject(new Error('its watchdog has not read of this run: no room')),
    });
    await lab.agent();
    const end = await lab.ended(await lab.begin());
    expect(end.result).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
    expect(end.result?.because).toBe('its watchdog has not read of this run: no room');
    expect(await lab.traceHere(end)).not.toContain('step_script');
  });

  it('is told so by the beat: a problem is said once, ends nobody, and is over when it is over', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'x: { script: ["true"] }' });
    const said: (string | null)[] = [];
    const beats = [{ run: 'r', executor: 'process', held: false, mayRunUntilBootMs: 1e12 }];
    const freezer = { kind: 'cgroup' as const, path: '/nowhere' };
    // A folder in its place: no beat can be written.
    mkdirSync(join(lab.home, 'watchdog.json.new'));
    const watch = new RunWatch({
      home: lab.home,
      runs: { beats: async () => beats.map((beat) => ({ ...beat, freezer })) },
      clock: lab.clock,
      onProblem: (because) => said.push(because),
      bin,
    });
    watch.start();
    await sleep(1000);
    rmSync(join(lab.home, 'watchdog.json.new'), { recursive: true });
    await watch.covers('r', new AbortController().signal);
    watch.stop();
    expect(said).toEqual([expect.stringMatching(/^the watchdog cannot be told of the runs: EISDIR/), null]);
    expect(JSON.parse(readFileSync(join(lab.home, 'watchdog.json'), 'utf8')).runs).toHaveLength(1);
    expect(readFileSync(join(lab.home, 'watchdog.seen'), 'utf8')).toMatch(/^[0-9a-f]{12}:\d+ +$/);
  });

  it('a beat of an agent before this one does not count as read', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'x: { script: ["true"] }' });
    await writeBeat(lab.home, { bootId: lab.clock.bootId(), id: 'ffffffffffff:9999999', runs: [] });
    writeFileSync(join(lab.home, 'watchdog.seen'), 'ffffffffffff:9999999');
    const watch = new RunWatch({
      home: lab.home,
      runs: {
        beats: async () => [
          { run: 'r', executor: 'p', held: false, mayRunUntilBootMs: 1e12, freezer: { kind: 'pgid', marker: 'r' } },
        ],
      },
      clock: lab.clock,
      onProblem: () => undefined,
      bin,
    });
    const began = performance.now();
    await watch.covers('r', new AbortController().signal);
    expect(watchdogPid(lab.home)).not.toBeNull();
    expect(readBeatId(lab.home)).not.toContain('ffffffffffff');
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
