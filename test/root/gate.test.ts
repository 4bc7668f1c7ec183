import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { isCgroupFrozen, legacyMount, thawIfFrozen, unifiedMount } from '../../node/executors/run-cgroup.ts';
import { install } from '../bench/debian.ts';
import { readLease } from '../hosting/gate-lease.ts';
import { GateNetwork } from '../hosting/gate-network.ts';
import { leaseSeen } from '../hosting/gate-process.ts';
import { GateRig } from '../hosting/gate-rig.ts';
import { gatePrograms } from '../hosting/stand/programs.ts';
import { until } from '../real/run-lab.ts';
import { netOf } from './lan.ts';

/** The gate before a service that serves files and a slow answer; network, processes and rules are real. */
const network = new GateNetwork();
const clock = systemClock();
const www = mkdtempSync('/var/tmp/t-gate-www-');
const bytes = 1 << 30;
let rig: GateRig;
let agent: ChildProcess;
let group: string | null = null;
let digest = '';

/** 1 GiB in which no block is another's. */
function writeWhole(): void {
  const file = openSync(join(www, 'whole'), 'w');
  const hash = createHash('sha256');
  const block = Buffer.alloc(1 << 20, 'a line that is told from others by the number of its block. ');
  for (let index = 0; index < bytes / block.length; index++) {
    block.writeUInt32BE(index, 0);
    block.writeUInt32BE(index, block.length / 2 + 1);
    hash.update(block);
    writeSync(file, block);
  }
  closeSync(file);
  digest = hash.digest('hex');
}

beforeAll(() => install(gatePrograms), 300_000);
beforeAll(async () => {
  writeWhole();
  mkdirSync(join(www, 'cgi-bin'));
  const answer = 'printf "Content-Type: text/plain\\r\\n\\r\\npushed\\n"';
  writeFileSync(join(www, 'cgi-bin/late'), `#!/bin/sh\nsleep "\${QUERY_STRING:-1}"\n${answer}\n`);
  chmodSync(join(www, 'cgi-bin/late'), 0o755);
  writeFileSync(join(www, 'index.html'), 'this is GitLab\n');
  network.begin(www);
  rig = new GateRig(network.machine, { table: 't_gate', bridge: network.bridge, uid: 64_711 }, [
    { kind: 'http', port: 8080, behind: 80, proxy: false },
    { kind: 'ssh', port: 8022, behind: 22, proxy: false },
  ]);
  await rig.begin();
  agent = rig.agent();
  await until('the gate', () => leaseSeen(rig.home) !== null, 10_000);
});

afterEach(() => {
  agent.kill('SIGCONT');
  thawIfFrozen(group);
});
afterAll(async () => {
  rig?.end();
  await network.end();
  rmSync(www, { recursive: true, force: true });
  expect(network.left()).toEqual([]);
}, 60_000);

const curl = (...words: string[]): string => rig.inside(['curl', '-s', '--max-time', '5', ...words]).text;
const here = 'http://127.0.0.1:8080';
const isServed = (): boolean => curl(`${here}/index.html`) === 'this is GitLab\n';
const serve = async (more: object = {}): Promise<void> => {
  rig.wish({ upstream: network.address, isServing: true, because: '', freezer: null, ...more });
  await until(async () => `GitLab is served: ${curl('-i', `${here}/index.html`)} ${rig.log()}`, isServed, 8000);
};
/** The agent may be at work on what it read before: the lease after the next is of this wish, and behind its beat comes one more. */
const inForce = async (): Promise<void> => {
  const count = (): number => Number(leaseSeen(rig.home)?.split('-')[1]);
  const from = count();
  await until('the wish is in force', () => count() >= from + 3, 5000);
};

interface Got {
  status: number;
  bytes: number;
  sha256: string;
  wasReset: boolean;
}
/** A client in the machine's network: what it has so far, and what it ended with. */
function get(
  path: string,
  { unread = 0, pace = Number.POSITIVE_INFINITY } = {},
): { at: () => number; got: Promise<Got> } {
  const words = [rig.client, '127.0.0.1', '8080', path, String(unread), String(pace)];
  const child = spawn('nsenter', [netOf(network.machine), process.execPath, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
  });
  const got = new Promise<Got>((done) =>
    child.on('close', () => done(JSON.parse(text.trim().split('\n').at(-1) ?? '{}') as Got)),
  );
  return { at: () => Number(/^at (\d+)/.exec(text.trim().split('\n').at(-1) ?? '')?.[1] ?? 0), got };
}

describe('the gate', () => {
  it('answers by itself, with the reason, to curl, git and ssh until the service is said to work', async () => {
    rig.wish({ upstream: network.address, isServing: false, because: 'GitLab boots: <2 of 5> minutes' });
    await until('the page', () => curl(`${here}/`).includes('boots'));
    const asked = curl('-i', `${here}/group/project`);
    expect(asked).toContain('503 Service Unavailable');
    expect(asked).toContain('text/html');
    expect(asked).toContain('GitLab boots: &#60;2 of 5&#62; minutes');
    const git = rig.inside(['git', 'ls-remote', `${here}/group/project.git`]);
    expect(git.text).toContain('remote: GitLab boots: <2 of 5> minutes; try again in a moment');
    expect(git.status).not.toBe(0);
    const options = ['-p', '8022', '-F', 'none', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no'];
    const ssh = rig.inside(['ssh', ...options, '-o', 'UserKnownHostsFile=/dev/null', 'git@127.0.0.1']);
    expect(ssh.text).toContain('GitLab boots: <2 of 5> minutes');
  });

  it('is the only way there: not for root, another user or a machine behind another bridge; flushed rules come back', async () => {
    await serve();
    const direct = ['curl', '-s', '--max-time', '3', `http://${network.address}/index.html`];
    expect(rig.inside(direct).status).toBe(7);
    expect(rig.inside(direct, 1234).status).toBe(7);
    expect(rig.inside(direct, rig.guard.uid).text).toBe('this is GitLab\n');
    const job = (): string => network.job(direct);
    expect(job()).toBe('');
    // It is the rules that keep them out. Whoever flushes all of them opens it until the next lease at most.
    agent.kill('SIGSTOP');
    rig.inside(['nft', 'flush', 'ruleset']);
    expect(rig.inside(direct).text).toBe('this is GitLab\n');
    expect(job()).toBe('this is GitLab\n');
    agent.kill('SIGCONT');
    await until('the guard is back', () => rig.inside(direct).status === 7, 5000);
    expect(job()).toBe('');
  });

  it('lets 1 GiB through whole while its agent is stopped and killed, and another process takes over', async () => {
    await serve();
    const { gate } = rig;
    const { at, got } = get('/whole', { pace: 150 });
    const more = async (mib: number): Promise<void> => {
      const from = at();
      await until(`${mib} MiB more`, () => at() >= from + (mib << 20), 20_000);
    };
    // The gate goes by what this process wrote, and bytes still come.
    const takesOver = async ({ pid }: ChildProcess): Promise<void> => {
      await until('a lease of the next', () => leaseSeen(rig.home)?.startsWith(`${pid}-`) === true, 5000);
      await more(64);
    };
    await more(64);
    agent.kill('SIGSTOP');
    await more(128);
    agent.kill('SIGCONT');
    await more(64);
    agent.kill('SIGKILL');
    agent = rig.agent();
    await takesOver(agent);
    const next = rig.agent();
    await takesOver(next);
    agent.kill('SIGKILL');
    agent = next;
    await more(64);
    expect(await got).toMatchObject({ status: 200, bytes, sha256: digest, wasReset: false });
    expect(rig.gate).toBe(gate);
    expect(isServed()).toBe(true);
  });

  const versions = ([1, 2] as const).filter((v) => (v === 2 ? unifiedMount() : legacyMount('freezer')) !== null);
  it.each(versions)(
    'shuts when the lease of a stopped agent is out; the watchdog freezes the service (v%i); renewed, both go on',
    async (v) => {
      group = network.group(v);
      await serve({ leaseMs: 2000, freezer: group });
      await inForce();
      const { got } = get('/cgi-bin/late?20');
      await sleep(500);
      agent.kill('SIGSTOP');
      const end = (readLease(rig.home) as { until: number }).until;
      expect(await got).toMatchObject({ bytes: 0, wasReset: true });
      expect(clock.bootMs() - end).toBeGreaterThanOrEqual(0);
      expect(clock.bootMs() - end).toBeLessThan(1000);
      expect(curl('-i', `${here}/index.html`)).toContain('503 Service Unavailable');
      await until('frozen', () => isCgroupFrozen(group as string), 3000);
      agent.kill('SIGCONT');
      await until('served again', isServed, 5000);
      expect(isCgroupFrozen(group as string)).toBe(false);
      expect(rig.log()).toMatch(/shut: .*\n.*open, epoch 1/);
    },
  );

  it('gives no answer that came while it was stopped itself and the lease ran out', async () => {
    await serve({ leaseMs: 1500, freezer: null });
    const { got } = get('/cgi-bin/late');
    await sleep(500);
    const { gate } = rig;
    process.kill(gate, 'SIGSTOP');
    agent.kill('SIGSTOP');
    await sleep(2500);
    process.kill(gate, 'SIGCONT');
    expect(await got).toMatchObject({ bytes: 0, status: 0, wasReset: true });
    agent.kill('SIGCONT');
    await until('served again', isServed, 5000);
  });

  it('ends what passes when the epoch rises, and opens for no earlier one', async () => {
    await serve({ leaseMs: 4000, epoch: 2 });
    const { got } = get('/cgi-bin/late?20');
    await sleep(300);
    rig.wish({ epoch: 3 });
    expect(await got).toMatchObject({ bytes: 0, wasReset: true });
    await until('served', isServed);
    rig.wish({ epoch: 2 });
    await until('shut', () => !isServed(), 8000);
  });

  it('hands a reset on as a reset: half an answer of a killed service does not end as a whole one', async () => {
    await serve({ epoch: 4 });
    // Whoever dies with bytes unread resets its connections.
    const { at, got } = get('/whole', { unread: 200_000 });
    await until('a part', () => at() > 0, 10_000);
    network.kill();
    const end = await got;
    expect(end).toMatchObject({ status: 200, wasReset: true });
    expect(end.bytes).toBeLessThan(bytes);
    expect(curl('-i', `${here}/`)).toContain('503');
  });
});
