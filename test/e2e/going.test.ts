import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createClient } from '../../node/local-api/socket-client.ts';
import { installLogindStandIn, LogindStandIn } from '../root/logind.ts';
import { formMesh, settled } from './mesh.ts';
import { asRoot, Rig, sleep, type TestMachine, until } from './rig.ts';

const names = ['kang', 'desktop-1', 'desktop-2'];
const local = ['--executor', 'process', ...asRoot];
let rig: Rig;
let logind: LogindStandIn;
let machines: TestMachine[] = [];

beforeAll(async () => {
  installLogindStandIn();
  logind = await new LogindStandIn().start();
  rig = new Rig();
  machines = await formMesh(rig, names, { env: { kang: logind.env } });
}, 300_000);
afterAll(async () => {
  await rig?.clean();
  await logind?.stop();
});

/** Writes settings through these machines, 32 in flight at each, until it is stopped; then says how each ended. */
function writing(through: TestMachine[]): () => Promise<Record<string, number>> {
  const ends: Record<string, number> = {};
  let isOver = false;
  let value = 0;
  const write = async (machine: TestMachine): Promise<void> => {
    const client = createClient(machine.home);
    while (!isOver) {
      const { state } = await client.change({ kind: 'set', key: 'graceMs', value: 1000 + (value++ % 80_000_000) });
      ends[state] = (ends[state] ?? 0) + 1;
    }
  };
  const writers = through.flatMap((machine) => Array.from({ length: 32 }, () => write(machine)));
  return async () => {
    isOver = true;
    await Promise.all(writers);
    return ends;
  };
}

const leaderOf = async (machine: TestMachine): Promise<string | null> => (await machine.status()).leader?.node ?? null;
const named = (name: string | null): TestMachine => machines.find((machine) => machine.name === name) as TestMachine;
const others = (machine: TestMachine): TestMachine[] => machines.filter((other) => other !== machine);
const childrenOf = (pid: number | undefined): string =>
  execFileSync('ps', ['-A', '-o', 'ppid=,comm='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.trim().startsWith(`${pid} `))
    .join();

/** The leader shall be that one: whoever leads else is drained for a moment, which moves leadership and nothing back. */
async function makeLeader(wanted: string): Promise<void> {
  for (let at = await settled(machines); at !== wanted; at = await settled(machines)) {
    const rest = names.filter((name) => name !== wanted);
    for (const name of rest) await named(wanted).cli('drain', name);
    await until(`${wanted} leads`, async () => (await leaderOf(named(wanted))) === wanted);
    for (const name of rest) await named(wanted).cli('undrain', name);
  }
}

describe('three machines', () => {
  it('move leadership when the leader is drained, and not back when it is not any more', async () => {
    const old = named(await settled(machines));
    const asked = await others(old)[0]!.cli('drain', old.name);
    expect(asked.code, asked.stderr).toBe(0);
    expect(asked.stdout + asked.stderr).toContain(`${old.name} takes no new work and does not vote`);
    const next = await until('another leads', async () => {
      const leader = await leaderOf(others(old)[0]!);
      return leader !== old.name && leader;
    });
    const status = await named(next).status();
    expect(status.nodes.find(({ node }) => node === old.name)).toMatchObject({
      state: 'draining',
      because: 'is drained: it takes no new work',
    });
    expect(status.attention).toContainEqual(
      expect.objectContaining({ code: 'node-draining', fix: `autogit-node undrain ${old.name}` }),
    );
    await until('it votes no more', async () => (await named(next).status()).quorum.voters.length === 2);
    await named(next).cli('undrain', old.name);
    await settled(machines);
    await sleep(2000);
    expect(await settled(machines)).toBe(next);
  });

  it('lose nothing when the leader leaves under load, and say who may go on', async () => {
    await makeLeader('kang');
    const kang = named('kang');
    const stop = writing(others(kang));
    await sleep(1000);
    const exited = new Promise((resolve) => kang.process?.once('exit', resolve));
    const { code, stdout, stderr } = await kang.cli('leave');
    expect([code, stdout + stderr]).toEqual([0, expect.stringContaining('handed over; this agent ends')]);
    await exited;
    const leader = await until('another leads', () => leaderOf(machines[1]!));
    await sleep(500);
    const ends = await stop();
    expect(Object.keys(ends)).toEqual(['done']);
    expect(ends.done).toBeGreaterThan(100);
    expect(kang.events('handing-over')).not.toHaveLength(0);
    const { quorum, nodes } = await named(leader).status();
    const [other] = names.filter((name) => name !== 'kang' && name !== quorum.tieBreaker);
    expect(quorum.voters).toEqual(['desktop-1', 'desktop-2']);
    expect(quorum.sentence).toBe(
      `two machines: if ${quorum.tieBreaker} dies, ${other} cannot take over safely by itself; if ${other} dies, ${quorum.tieBreaker} goes on`,
    );
    expect(nodes.find(({ node }) => node === 'kang')?.state).toBe('gone');
    kang.join(...local, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns');
    expect(await settled(machines)).toBe(leader);
  });

  it('go on when the leader sleeps, and take the same agent back when it wakes', async () => {
    await makeLeader('kang');
    const kang = named('kang');
    const pid = kang.process?.pid as number;
    await until('it holds the lock', async () => (await logind.inhibitors()).length === 1);
    const stop = writing(others(kang));
    await sleep(500);
    await logind.say('PrepareForSleep', true);
    await until('it lets the machine sleep', async () => (await logind.inhibitors()).length === 0, 4_500);
    process.kill(pid, 'SIGSTOP');
    const leader = await until('another leads', () => leaderOf(machines[1]!));
    expect(leader).not.toBe('kang');
    // Longer than it takes to give the links up.
    await sleep(6000);
    expect(Object.keys(await stop())).toEqual(['done']);
    expect((await named(leader).status()).quorum.voters).toEqual(['desktop-1', 'desktop-2']);
    process.kill(pid, 'SIGCONT');
    await logind.say('PrepareForSleep', false);
    expect(await settled(machines)).toBe(leader);
    expect(kang.process?.exitCode).toBeNull();
    expect(kang.events('machine-back')).toHaveLength(1);
    await until('it holds the lock again', async () => (await logind.inhibitors()).length === 1);
  });

  it('leave no lock and no listener behind when an agent is killed', async () => {
    const kang = named('kang');
    const pid = kang.process?.pid;
    expect(childrenOf(pid)).toContain('systemd-inhibit');
    const listening = (): string =>
      execFileSync(
        'sh',
        ['-c', `grep -lz '^DBUS_SYSTEM_BUS_ADDRESS=${logind.address}$' /proc/[0-9]*/environ || true`],
        {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      );
    const before = listening().split('\n').length;
    await kang.kill('SIGKILL');
    await until('the lock is given back', async () => (await logind.inhibitors()).length === 0);
    // The agent, its lock and what it ran, its listener.
    await until('they are gone', () => listening().split('\n').length <= before - 4);
  });
});
