import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { install } from '../bench/debian.ts';
import { installHook, writeHeldReceivePack } from '../hosting/hook-rig.ts';
import { leftUnder, Machine, ownFolder, putAway } from '../hosting/stand/machine.ts';
import { hostingPrograms } from '../hosting/stand/programs.ts';
import { ended, Pusher, refsOf } from '../hosting/stand/writers.ts';
import { type Bundle, bundleProcess } from '../real/network-child.ts';

/** The agent as a process, a real repository and real pushes: what a push hears when its agent dies. */
let bundle: Bundle;
let folder: string;
let machines: Machine[] = [];
let agent: ChildProcess | null = null;
let said = '';

beforeAll(async () => {
  install(hostingPrograms);
  bundle = await bundleProcess(fileURLToPath(new URL('../hosting/stand/agent-process.ts', import.meta.url)));
}, 300_000);
afterAll(() => bundle.remove());

const repository = (): string => join((machines[0] as Machine).live, 'project.git');
const socket = (): string => join(folder, 'door', 'hook.sock');

beforeEach(async () => {
  folder = ownFolder();
  machines = [];
  for (const name of ['host', 'standby']) machines.push(await Machine.make(name, folder, 256 << 20));
  await machines[0]?.prepare();
  Pusher.makeRepository(repository());
  installHook(repository(), socket());
  // Mounted as the mount unit would have it: agents come and go, and find it so.
  for (const machine of machines) await machine.image.letGo();
});
afterEach(async () => {
  await kill();
  await putAway(machines, folder);
  expect(leftUnder(folder)).toEqual([]);
});

async function begin(): Promise<void> {
  said = '';
  const child = spawn(process.execPath, [bundle.path, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.on('data', (data) => {
    said += data;
  });
  agent = child;
  await says('ready');
}

const kill = async (): Promise<void> => {
  if (agent) await ended(agent);
};

async function says(words: string): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    if (said.includes(words)) return;
    if (agent?.exitCode !== null) throw new Error(`the agent ended: ${said}`);
    await sleep(5);
  }
  throw new Error(`the agent never said ${words}: ${said}`);
}

/** What a standby's agent finds, by a copy of it that is opened afresh here. */
async function onStandby(): Promise<Map<string, string>> {
  const { replica } = machines[1] as Machine;
  const newest = (await replica.open()).at(-1);
  return newest ? refsOf(join(replica.folderOf(newest), 'project.git')) : new Map();
}

const isOver = async (push: Promise<unknown>, ms: number): Promise<boolean> =>
  Promise.race([push.then(() => true), sleep(ms, false)]);

it.each(['asked', 'step btrfs receive', 'step sync', 'step write and fsync', 'step rename the marker'])(
  'a hook outlives an agent that is killed at "%s", and ends on an answer of the next one only',
  async (at) => {
    await begin();
    const pusher = new Pusher(join(folder, 'clone'), repository());
    const commit = pusher.commit('one');
    said = '';
    const push = pusher.push('one');
    await says(at);
    await kill();
    expect(await isOver(push, 1000)).toBe(false);
    await begin();
    expect(await push).toMatchObject({ code: 0 });
    await kill();
    expect((await onStandby()).get('one')).toBe(commit);
  },
);

it('a second push while the first waits has its own wait; and whoever asks for refs meanwhile is held', async () => {
  // Held as the gate will hold it, a push ends when the first did.
  const held = join(folder, 'held-receive-pack');
  writeHeldReceivePack(held, socket());
  const [first, second] = [new Pusher(join(folder, 'a'), repository()), new Pusher(join(folder, 'b'), repository())];
  const holding = new Pusher(join(folder, 'c'), repository(), held);
  const [one, two] = [first.commit('one'), second.commit('two')];
  await begin();
  agent?.kill('SIGSTOP');
  const pushes = [first.push('one'), second.push('two')];
  expect(await isOver(Promise.race(pushes), 1500)).toBe(false);
  expect(refsOf(repository())).toEqual(
    new Map([
      ['one', one],
      ['two', two],
    ]),
  );

  // The same push again says "Everything up-to-date" and exits 0 with no hook: the refs are there, the round is not.
  expect(await first.push('one')).toMatchObject({ code: 0, said: expect.stringContaining('up-to-date') });
  holding.commit('three');
  const refs = holding.push('three');
  expect(await isOver(refs, 1000)).toBe(false);
  agent?.kill('SIGCONT');
  for (const push of [...pushes, refs]) expect(await push).toMatchObject({ code: 0 });
  await kill();
  const there = await onStandby();
  expect([there.get('one'), there.get('two')]).toEqual([one, two]);
});

it('a hook that cannot run lets the push go: whoever tells pushers must ask for the round itself', async () => {
  installHook(repository(), "it's no path");
  const pusher = new Pusher(join(folder, 'clone'), repository());
  pusher.commit('one');
  expect((await pusher.push('one')).code).toBe(0);
  expect(await onStandby()).toEqual(new Map());
});
