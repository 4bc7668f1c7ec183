import { userInfo } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { AuditEntry } from '../../protocol/audit.ts';
import { TimelineEvent as Event, type TimelineEvent } from '../../protocol/history.ts';
import { formMesh, settled } from './mesh.ts';
import { asRoot, Rig, type TestMachine, until } from './rig.ts';

const rig = new Rig();
let machines: TestMachine[] = [];
beforeAll(async () => {
  machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2']);
}, 180_000);
afterAll(() => rig.clean());

const eventsOf = async (machine: TestMachine): Promise<TimelineEvent[]> =>
  Event.array().parse(JSON.parse((await machine.cli('events', '--json')).stdout));

it('every machine tells who was let in, who led next and why; over a restart of its agent nothing is told twice', async () => {
  const [kang, desktop] = machines as [TestMachine, TestMachine];
  const sentences = async (machine: TestMachine): Promise<string[]> =>
    (await eventsOf(machine)).map(({ sentence }) => sentence);
  await until('kang tells of both', async () => {
    const told = await sentences(kang);
    return told.includes('desktop-1 is in the mesh') && told.includes('desktop-2 is in the mesh');
  });
  const leader = await settled(machines);
  const killed = machines.find(({ name }) => name === leader)!;
  const others = machines.filter((one) => one !== killed);
  await killed.kill();
  for (const other of others)
    await until(`${other.name} tells who leads now, and why`, async () => {
      const last = (await eventsOf(other)).findLast(({ kind }) => kind === 'election');
      return last?.because && last.node !== leader;
    });
  killed.join('--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
  const next = await settled(machines);
  const back = await until('the one that was killed tells it too', async () => {
    const told = await eventsOf(killed);
    return told.some(({ kind, node }) => kind === 'election' && node === next) ? told : null;
  });
  expect(new Set(back.map(({ id }) => id)).size).toBe(back.length);
  expect(back.filter(({ sentence }) => sentence.startsWith(`${leader} leads in term 1,`)).length).toBeLessThan(2);
  expect([...back].sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual(back);
  const drained = others[0]!;
  // A mesh that has just elected may say that it is not known whether something was done.
  const done = (...words: string[]) => until(words.join(' '), async () => (await drained.cli(...words)).code === 0);
  await done('drain', killed.name);
  await done('undrain', killed.name);
  await done('pause', '--for', '1h');
  await done('resume');
  const user = userInfo().username;
  for (const machine of machines) {
    const acts = await until(`${machine.name} has written down who did what`, async () => {
      const all = AuditEntry.array().parse(JSON.parse((await machine.cli('audit', '--json')).stdout));
      return ['drain', 'pause', 'resume'].every((what) => all.some((one) => one.what === what)) ? all : null;
    });
    const drain = acts.find(({ what }) => what === 'drain');
    expect(drain).toMatchObject({
      on: drained.name,
      sentence: expect.stringContaining(`${killed.name} takes no new work`),
    });
    expect(drain?.who).toContain(user);
    expect(acts.find(({ what }) => what === 'pause')?.on).toBe(drained.name);
    expect(acts.filter(({ what }) => what === 'approve')).toHaveLength(2);
  }
  const { stdout: logs } = await desktop.cli('logs', '--all');
  const lines = logs
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { machine: string; time: number });
  expect(new Set(lines.map(({ machine }) => machine))).toEqual(new Set(['kang', 'desktop-1', 'desktop-2']));
  expect([...lines].sort((a, b) => a.time - b.time).map(({ time }) => time)).toEqual(lines.map(({ time }) => time));
  const { stdout } = await desktop.cli('events', '--lines', '1');
  expect(stdout.trim().split('\n')).toHaveLength(1);
  expect(stdout.split('\t')).toHaveLength(6);
});
