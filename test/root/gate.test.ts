import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { isCgroupFrozen, thawIfFrozen } from '../../node/executors/run-cgroup.ts';
import { livingGates } from '../../node/hosting/gate/gate-files.ts';
import { isGuarded } from '../../node/hosting/gate/gate-guard.ts';
import { readLease } from '../../node/hosting/gate/gate-lease.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { install } from '../bench/debian.ts';
import { GateEngine } from '../hosting/gate-engine.ts';
import { GateRig } from '../hosting/gate-rig.ts';
import { gatePrograms } from '../hosting/stand/programs.ts';
import { until } from '../real/run-lab.ts';
import { netOf } from './lan.ts';
import { makeTestImages } from './test-image.ts';

/** SAFETY H1, H3. The gate before a container that serves files and a slow answer: engine, network, processes and rules are real. */
const machine = new GateEngine();
const clock = systemClock();
const www = mkdtempSync('/var/tmp/t-hgate-www-');
const bytes = 1 << 30;
let rig: GateRig;
let agent: ChildProcess;
let address = '';
let cgroup = '';
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
  makeTestImages();
  writeWhole();
  chmodSync(www, 0o755);
  mkdirSync(join(www, 'cgi-bin'));
  const answer = 'printf "Content-Type: text/plain\\r\\n\\r\\npushed\\n"';
  writeFileSync(join(www, 'cgi-bin/late'), `#!/bin/sh\nsleep "\${QUERY_STRING:-1}"\n${answer}\n`);
  chmodSync(join(www, 'cgi-bin/late'), 0o755);
  writeFileSync(join(www, 'index.html'), 'this is GitLab\n');
  await machine.begin(www);
  address = machine.address;
  cgroup = machine.cgroup;
  rig = new GateRig(machine.engine.net, { table: 't_hgate', bridge: machine.bridge, uid: 64_711 }, [
    { kind: 'http', port: 80, behind: 80, proxy: false },
    { kind: 'ssh', port: 22, behind: 22, proxy: false },
  ]);
  await rig.begin();
});

afterEach(() => {
  agent.kill('SIGCONT');
  thawIfFrozen(cgroup);
});
afterAll(async () => {
  rig?.end();
  await machine.end();
  rmSync(www, { recursive: true, force: true });
  expect(machine.left()).toEqual([]);
}, 60_000);

const curl = (...words: string[]): string => rig.inside(['curl', '-s', '--max-time', '5', ...words]).text;
const here = 'http://127.0.0.1';
const isServed = (): boolean => curl(`${here}/index.html`) === 'this is GitLab\n';
const served = (): Promise<boolean> =>
  until(async () => `GitLab is served: ${curl('-i', `${here}/index.html`)} ${rig.said} ${rig.log()}`, isServed, 20_000);
let marks = 0;
/** What the mesh decided has come to the gate, and to the watchdog. */
const inForce = async (more: object): Promise<void> => {
  const mark = `mark ${++marks}`;
  rig.wish({ because: mark, ...more });
  await until(
    'the wish is in force',
    () => {
      const lease = readLease(rig.folder);
      return lease?.because === mark && rig.seen === lease.id;
    },
    20_000,
  );
};
/** By what is wished for now, and not by what was in force before. */
const serve = async (more: object = {}): Promise<void> => {
  await inForce({ leaseMs: 4000, upstream: address, isServing: true, cgroup, isClosing: false, ...more });
  await served();
};
/** Agents end and begin: this one goes on until the next has written a lease. */
const takesOver = async (next: ChildProcess): Promise<void> => {
  await until('a lease of the next', () => rig.seen?.startsWith(`${next.pid}-`) === true, 30_000);
};

/** Those that make a slow answer: of a request that was cut they sleep on. */
const slow = (): string[] =>
  readFileSync(join(cgroup, 'cgroup.procs'), 'utf8')
    .split('\n')
    .filter((pid) => pid !== '' && /(^|[\0/])(late|sleep)\0/.test(commandOf(pid)));
/** Asks for what takes so many seconds; answered once GitLab makes it, so that it has passed the gate, however long that took. */
const asksSlow = async (seconds: number): Promise<{ got: Promise<Got> }> => {
  const before = new Set(slow());
  const { got } = get(`/cgi-bin/late?${seconds}`);
  await until('GitLab is asked', () => slow().some((pid) => !before.has(pid)), 10_000);
  return { got };
};
const commandOf = (pid: string): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
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
  { unread = 0, pace = Number.POSITIVE_INFINITY, half = 'open' } = {},
): { at: () => number; got: Promise<Got> } {
  const words = [rig.client, '127.0.0.1', '80', path, String(unread), String(pace), half];
  const child = spawn('nsenter', [netOf(machine.engine.net), process.execPath, ...words], {
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
  it('says who has its number, or its port, and what to do; with both free it is there by itself', async () => {
    const { uid } = rig.guard;
    machine.jobAs(uid);
    const words = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', 'sleep', '600'];
    const stranger = spawn('nsenter', [netOf(machine.engine.net), ...words], { stdio: 'ignore' });
    const other = spawn('nsenter', [netOf(machine.engine.net), 'busybox', 'nc', '-l', '-p', '22'], { stdio: 'ignore' });
    await until('the port is taken', () => rig.inside(['ss', '-ltn']).text.includes(':22 '), 5000);
    agent = rig.agent();
    // None of the two may be left to the tests that follow.
    try {
      await until('the problem', () => rig.said.includes('refused'), 30_000);
      expect(rig.said).toContain(
        `process ${stranger.pid} has the number of the gate's user, ${uid}, and would get past`,
      );
      stranger.kill('SIGKILL');
      // A gate has 10 s to start.
      await until('the next problem', () => rig.said.includes('port 22'), 30_000);
      expect(rig.said).toContain(
        'port 22 of this machine is taken by another program, and GitLab is to be served there\n-> end',
      );
    } finally {
      for (const one of [stranger, other]) one.kill('SIGKILL');
    }
    await takesOver(agent);
    expect(rig.said).toContain("GitLab's gate is in order again");
  });

  it('answers by itself, with the reason, to curl, git and ssh until the service is said to work, over IPv6 too', async () => {
    rig.wish({ upstream: address, isServing: false, because: 'GitLab boots: <2 of 5> minutes' });
    await until('the page', () => curl(`${here}/`).includes('boots'));
    const asked = curl('-i', 'http://[::1]/group/project');
    expect(asked).toContain('503 Service Unavailable');
    expect(asked).toContain('text/html');
    expect(asked).toContain('GitLab boots: &#60;2 of 5&#62; minutes');
    const git = rig.inside(['git', 'ls-remote', `${here}/group/project.git`]);
    expect(git.text).toContain('remote: GitLab boots: <2 of 5> minutes; try again in a moment');
    expect(git.status).not.toBe(0);
    const options = ['-F', 'none', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no'];
    const ssh = rig.inside(['ssh', ...options, '-o', 'UserKnownHostsFile=/dev/null', 'git@127.0.0.1']);
    expect(ssh.text).toContain('GitLab boots: <2 of 5> minutes');
  });

  it('is the only way there, past what the engine allows: not for root, another user, a job or a neighbour; flushed rules come back', async () => {
    await serve();
    expect(statSync(rig.home).mode & 0o777).toBe(0o700);
    const url = `http://${address}/index.html`;
    const direct = ['curl', '-s', '--max-time', '3', url];
    expect(rig.inside(direct).status).toBe(7);
    expect(rig.inside(direct, 1234).status).toBe(7);
    expect(rig.inside(direct, rig.guard.uid).text).toBe('this is GitLab\n');
    expect([machine.job(url), machine.neighbour(direct)]).toEqual(['', '']);
    // It is our rules that keep them out. Whoever drops them opens it until the next look at most.
    agent.kill('SIGSTOP');
    rig.inside(['nft', 'delete', 'table', 'inet', rig.guard.table]);
    expect(rig.inside(direct).text).toBe('this is GitLab\n');
    expect(machine.neighbour(direct)).toBe('this is GitLab\n');
    agent.kill('SIGCONT');
    await until('the guard is back', () => rig.inside(direct).status === 7, 6000);
    expect(machine.neighbour(direct)).toBe('');
  });

  it('lets 1 GiB through whole while its agent is stopped and killed, and one of another version brings a gate of its own', async () => {
    await serve();
    const { gate } = rig;
    const { at, got } = get('/whole', { pace: 130 });
    const more = async (mib: number): Promise<void> => {
      const from = at();
      await until(`${mib} MiB more`, () => at() >= from + (mib << 20), 20_000);
    };
    await more(64);
    agent.kill('SIGSTOP');
    await more(128);
    agent.kill('SIGCONT');
    await more(64);
    agent.kill('SIGKILL');
    agent = rig.agent();
    await takesOver(agent);
    expect(rig.gate).toBe(gate);
    await more(64);
    agent.kill('SIGKILL');
    agent = rig.agent({ version: '2' });
    await takesOver(agent);
    expect(rig.gate).not.toBe(gate);
    expect(livingGates(rig.home)).toContain(gate);
    expect(isServed()).toBe(true);
    await more(64);
    expect(await got).toMatchObject({ status: 200, bytes, sha256: digest, wasReset: false });
    await until('the gate of before has ended', () => livingGates(rig.home).join() === `${rig.gate}`, 5000);
  });

  it('shuts when the lease of a stopped agent is out; the watchdog freezes the container; renewed, both go on', async () => {
    await serve({ leaseMs: 2000 });
    await inForce({});
    const { got } = await asksSlow(20);
    agent.kill('SIGSTOP');
    const end = (readLease(rig.folder) as { until: number }).until;
    expect(await got).toMatchObject({ bytes: 0, wasReset: true });
    expect(clock.bootMs() - end).toBeGreaterThanOrEqual(0);
    expect(clock.bootMs() - end).toBeLessThan(1000);
    expect(curl('-i', `${here}/index.html`)).toMatch(/503 Service Unavailable.*lost touch with most of its mesh/s);
    await until('frozen', () => isCgroupFrozen(cgroup), 3000);
    agent.kill('SIGCONT');
    await served();
    expect(isCgroupFrozen(cgroup)).toBe(false);
    expect(rig.log()).toMatch(/shut: .*\n.*open, epoch 1/);
  });

  it('has its container frozen by an agent that starts and gets no lease; what a dead watchdog froze is thawed with the next', async () => {
    await serve({ leaseMs: 3000 });
    await inForce({});
    agent.kill('SIGKILL');
    rig.wish({ leaseMs: 0 });
    agent = rig.agent();
    await until('frozen', () => isCgroupFrozen(cgroup), 6000);
    expect(isServed()).toBe(false);
    const { watchdog } = rig;
    process.kill(watchdog, 'SIGKILL');
    agent.kill('SIGKILL');
    agent = rig.agent();
    await serve();
    expect(isCgroupFrozen(cgroup)).toBe(false);
    expect(rig.watchdog).not.toBe(watchdog);
  });

  it('serves no longer than its lease while a watchdog hangs, and says so', async () => {
    await serve({ leaseMs: 2000 });
    process.kill(rig.watchdog, 'SIGSTOP');
    await until('shut', () => !isServed(), 8000);
    process.kill(rig.watchdog, 'SIGCONT');
    await serve();
  });

  it('gives no answer that came while it was stopped itself and the lease ran out', async () => {
    await serve({ leaseMs: 1500, cgroup });
    const { got } = await asksSlow(3);
    const { gate } = rig;
    process.kill(gate, 'SIGSTOP');
    agent.kill('SIGSTOP');
    await sleep(4500);
    process.kill(gate, 'SIGCONT');
    expect(await got).toMatchObject({ bytes: 0, status: 0, wasReset: true });
    agent.kill('SIGCONT');
    await served();
  });

  it('ends what passes when the epoch rises, and opens for no earlier one', async () => {
    await serve({ epoch: 2 });
    const { got } = await asksSlow(20);
    await inForce({ epoch: 3 });
    expect(await got).toMatchObject({ bytes: 0, wasReset: true });
    await served();
    rig.wish({ epoch: 2 });
    await until('shut', () => !isServed(), 8000);
  });

  it('is closed for good when it has read so: what passes is cut, the container frozen, and no later lease of that epoch counts', async () => {
    await serve({ epoch: 4 });
    const { got } = await asksSlow(20);
    rig.wish({ isClosing: true, because: 'GitLab has moved' });
    await until('closed', () => rig.said.includes('closed 4'), 3000);
    expect(rig.seen).toBe(readLease(rig.folder)?.id);
    expect(await got).toMatchObject({ bytes: 0, wasReset: true });
    expect(curl(`${here}/`)).toContain('GitLab has moved');
    await until('frozen', () => isCgroupFrozen(cgroup), 3000);
    agent.kill('SIGKILL');
    rig.wish({ isClosing: false });
    agent = rig.agent();
    await until('the refusal', () => rig.said.includes('refused: epoch 4 is closed'), 5000);
    expect(curl('-i', `${here}/index.html`)).toContain('503');
  });

  it.each(['open', 'ended'])(
    'hands a reset on as a reset, the half of the client %s: half an answer of a killed service does not end as a whole one',
    async (half) => {
      await serve({ epoch: half === 'open' ? 5 : 6 });
      // Whoever dies with bytes unread resets its connections.
      const { at, got } = get('/whole', { unread: 200_000, half });
      await until('a part', () => at() > 0, 10_000);
      machine.kill();
      const end = await got;
      expect(end).toMatchObject({ status: 200, wasReset: true });
      expect(end.bytes).toBeLessThan(bytes);
      machine.remove();
      machine.serve(www);
      [address, cgroup] = [machine.address, machine.cgroup];
    },
  );

  it('in the strict mode an answer to a write waits for the next lease, and comes with it (SAFETY H9)', async () => {
    await serve({ epoch: 7 });
    expect(readLease(rig.folder)?.confirmedAt).toBeUndefined();
    const next = rig.agent({ isStrict: true });
    await takesOver(next);
    agent.kill('SIGKILL');
    agent = next;
    const { until: end, confirmedAt } = readLease(rig.folder)!;
    expect(confirmedAt).toBe(end - hostingTimings.leaseMs);
    const posts = (): string => curl('-X', 'POST', '--data', 'x', `${here}/cgi-bin/late?0`);
    expect(posts()).toBe('pushed\n');
    // Nobody lets it go on any more: what only reads is answered to the end of the lease, and a write is not.
    agent.kill('SIGSTOP');
    await sleep(200);
    expect(isServed()).toBe(true);
    expect(posts()).toBe('');
    agent.kill('SIGCONT');
    await until('it answers writes again', () => posts() === 'pushed\n', 10_000);
  });

  it('finds nft where a person’s own PATH has no sbin, as root’s by `su`: the look before a deploy finds it there too', async () => {
    const before = process.env.PATH;
    process.env.PATH = '/usr/bin:/bin';
    try {
      expect(await isGuarded({ table: 't_hgate_none', bridge: 't-hgate-none', uid: 4711 })).toBe(false);
    } finally {
      process.env.PATH = before;
    }
  });

  it('leaves no process, no rule and no file when GitLab is hosted here no more', async () => {
    machine.remove();
    rig.wish({ isEnding: true });
    await until('the end', () => rig.said.includes('no gate is left'), 5000);
    expect(livingGates(rig.home)).toEqual([]);
    expect(rig.inside(['nft', 'list', 'tables']).text).not.toContain(rig.guard.table);
    expect(existsSync(rig.folder)).toBe(false);
  });
});
