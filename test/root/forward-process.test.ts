import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { forwardUser, gateUser } from '../../node/executors/run-uids.ts';
import {
  forwarderNow,
  forwardFolder,
  makeForwardFolder,
  readTarget,
  writeTarget,
} from '../../node/hosting/forward/forward-files.ts';
import { ForwardKeeper } from '../../node/hosting/forward/forward-keeper.ts';
import { doorWord, gateNow, makeGateFolder } from '../../node/hosting/gate/gate-files.ts';
import { writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { doorFor, renewMemberSecret, writeMemberSecret } from '../../node/hosting/gate/member-door.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import setUpBundle from '../e2e/bundle.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { until } from '../real/run-lab.ts';
import { buildLan, type Lan } from './lan.ts';

/** The published programs: a gate on one machine of a LAN, a forwarder on a second, and a person at a third. */
const bin = fileURLToPath(new URL('../../dist/autogit-node.cjs', import.meta.url));
const [gateHome, home] = ['gate', 'forward'].map((name) => mkdtempSync(`/var/tmp/t-${name}-process-`)) as [
  string,
  string,
];
const clock = systemClock();
const children: ChildProcess[] = [];
let lan: Lan;

const pages = `require('node:net').createServer((s) => s.on('error', () => {}).once('data', (d) => {
  const line = String(d).split('\\r\\n')[0];
  s.end('HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: ' + line.length + '\\r\\n\\r\\n' + line);
})).listen(8080, '127.0.0.1', () => console.log('listens'))`;

function start(machine: number, ...words: string[]): ChildProcess {
  const [file = '', ...args] = [...lan.inside(machine), process.execPath, ...words];
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 2] });
  children.push(child);
  return child;
}

const lease = (more: object = {}): Promise<void> =>
  writeLease(makeGateFolder(gateHome), {
    ...{ id: String(clock.bootMs()), bootId: clock.bootId(), epoch: 1, until: clock.bootMs() + 600_000 },
    ...{ upstream: '127.0.0.1', isServing: true, because: '', tellsClient: true, ...more },
  });

/** As the agent of machine 2 tells it. */
async function aim(): Promise<void> {
  const door = doorFor(gateHome, 'D');
  if (door === null) throw new Error('there is no gate');
  const times = { id: String(clock.bootMs()), bootId: clock.bootId(), until: clock.bootMs() + 60_000 };
  const gate = { addresses: [lan.address(1)], ...door };
  const because = 'GitLab runs on kang, which is not reached';
  await writeTarget(makeForwardFolder(home), { ...times, node: 'D', gate, because }, forwardUser);
}

const ask = async (machine: number, ...words: string[]): Promise<string> => {
  const where = machine === 0 ? [] : lan.inside(machine);
  const [file = '', ...args] = [...where, 'curl', '-s', '--max-time', '8', ...words];
  // What was under way when the gate was shut is cut, and no answer.
  const { stdout } = await promisify(execFile)(file, args).catch(() => ({ stdout: '' }));
  return stdout;
};

beforeAll(async () => {
  setUpBundle();
  lan = buildLan(3);
  const server = start(1, '-e', pages);
  if (server.stdout) await once(server.stdout, 'data');
  await lease();
  writeMemberSecret(makeGateFolder(gateHome), gateUser);
  const door = doorWord({ kind: 'http', port: 80, behind: 8080, proxy: true });
  start(1, bin, '__gate', makeGateFolder(gateHome), String(gateUser), '1', door);
  await until('the gate stands', () => gateNow(gateHome).pid !== null);
  await aim();
  start(2, bin, '__forward', forwardFolder(home), String(forwardUser), '1', 'http/80');
  await until('the forwarder stands', () => forwarderNow(home).pid !== null);
}, 120_000);
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  lan?.remove();
  for (const folder of [gateHome, home]) rmSync(folder, { recursive: true, force: true });
});

describe('a machine that does not host GitLab', () => {
  it('hands on who comes, as nobody: its key is read by its own user alone', async () => {
    expect(await ask(3, `http://${lan.address(2)}/`)).toMatch(/^PROXY TCP4 10\.77\.0\.3 10\.77\.0\.2 \d+ 80$/);
    const status = readFileSync(`/proc/${forwarderNow(home).pid}/status`, 'utf8');
    expect(status).toContain(`Uid:\t${forwardUser}\t${forwardUser}\t${forwardUser}`);
    const { mode, uid } = statSync(join(forwardFolder(home), 'target.json'));
    expect([mode & 0o777, uid]).toEqual([0o600, forwardUser]);
  });

  it('shows the page of the host`s gate, asks for a new key when a member has gone, and says so when the host is away', async () => {
    await lease({ until: 0, epoch: 2, because: 'GitLab moves to zed' });
    // It reads that lease within 50 ms.
    await until('the page', async () => (await ask(3, `http://${lan.address(2)}/`)).includes('GitLab moves to zed'));
    await lease({ epoch: 3 });
    await until('it serves', async () => (await ask(3, `http://${lan.address(2)}/`)).startsWith('PROXY'));
    renewMemberSecret(gateHome);
    expect(await ask(3, `http://${lan.address(2)}/`)).toContain('does not know this machine yet');
    await aim();
    await until('it goes on', async () => (await ask(3, `http://${lan.address(2)}/`)).startsWith('PROXY'));
    lan.unplug(1);
    expect(await ask(3, `http://${lan.address(2)}/`)).toContain('GitLab runs on kang, which is not reached');
    lan.plug(1);
    await until('it is back', async () => (await ask(3, `http://${lan.address(2)}/`)).startsWith('PROXY'));
  });

  it('ends once its folder is gone', async () => {
    const { pid } = forwarderNow(home);
    rmSync(forwardFolder(home), { recursive: true });
    await until('it has ended', () => !existsSync(`/proc/${pid}`));
  });
});

describe('what the agent does for it', () => {
  const own = mkdtempSync('/var/tmp/t-forward-keeper-');
  let ledger: Ledger;
  let keeper: ForwardKeeper;
  const asked: string[] = [];
  const askedAt: number[] = [];
  let stands = false;
  const taken = createServer();

  beforeAll(async () => {
    taken.listen(0);
    const free = createServer().listen(0);
    await Promise.all([once(taken, 'listening'), once(free, 'listening')]);
    const [port, sshPort] = [free, taken].map((one) => (one.address() as AddressInfo).port) as [number, number];
    free.close();
    const founded = foundedMesh({ store: 'store-K', wallMs: 0 });
    const { K } = founded.nodes;
    const hosted = hostedGitlab({ port, sshPort });
    const gitlab = {
      ...founded.gitlab,
      mode: 'hosted' as const,
      host: 'K',
      epoch: 3,
      url: 'http://home.local',
      hosted,
    };
    ledger = { ...founded, nodes: { K: { ...K!, can: ['forward'] }, D: { ...K!, name: 'desktop-1' } }, gitlab };
    keeper = new ForwardKeeper({
      ...{ home: own, self: 'D', version: '1', bin, log: { info: () => undefined, warn: () => undefined } },
      // A machine that has just booted leaves the ports alone.
      clock: { ...clock, bootMs: () => clock.bootMs() + 3_600_000 },
      ledger: () => ledger,
      ask: async (node) => {
        asked.push(node);
        return { kind: 'forward-door', port: 7170, key: Buffer.alloc(32).toString('base64') };
      },
      addressOf: () => '192.0.2.10:7117',
      own: () => ['192.0.2.11'],
      nameOf: () => 'kang',
      because: () => 'GitLab runs on kang',
    });
    keeper.start();
  });
  afterAll(async () => {
    await keeper.removed();
    taken.close();
    rmSync(own, { recursive: true, force: true });
  });

  it('listens where it may, and says whose the other port is', async () => {
    const { port = 0, sshPort } = ledger.gitlab.hosted ?? {};
    await until('it listens', () => keeper.listensOn(port));
    expect(asked[0]).toBe('K');
    expect(keeper.listensOn(sshPort ?? 0)).toBe(false);
    expect(keeper.attention()).toMatchObject([
      {
        code: 'gitlab-forward',
        severity: 'info',
        sentence: expect.stringMatching(new RegExp(`^port ${sshPort} .*process`)),
      },
    ]);
    const left = readFileSync(join(own, 'forward-left.json'), 'utf8');
    expect(JSON.parse(left)).toMatchObject({ ports: [{ port: sshPort }] });
  });

  it('a new version takes its place, and the one before lets go first', async () => {
    const { pid } = forwarderNow(own);
    await keeper.stop();
    expect(forwarderNow(own).pid).toBe(pid);
    const { port = 0 } = ledger.gitlab.hosted ?? {};
    const options = { home: own, self: 'D', version: '2', bin, log: { info: () => undefined, warn: () => undefined } };
    keeper = new ForwardKeeper({
      ...options,
      clock: { ...clock, bootMs: () => clock.bootMs() + 3_600_000 },
      ...{ ledger: () => ledger, addressOf: () => '192.0.2.10:7117', own: () => [], nameOf: () => 'kang' },
      ask: async () => {
        askedAt.push(performance.now());
        return stands
          ? { kind: 'forward-door', port: 7171, key: Buffer.alloc(32).toString('base64') }
          : { kind: 'refused', because: 'its gate does not stand yet' };
      },
      because: () => 'GitLab runs on kang',
    });
    keeper.start();
    await until('it is there', () => forwarderNow(own).pid !== null && forwarderNow(own).pid !== pid);
    await until('it listens', () => keeper.listensOn(port));
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(await ask(0, `http://127.0.0.1:${port}/`)).toContain('GitLab runs on kang');
  });

  it('GitLab has just gone on elsewhere: its door there is asked for until that stands, and known at once', async () => {
    ledger = { ...ledger, gitlab: { ...ledger.gitlab, epoch: 4 } };
    askedAt.length = 0;
    keeper.ledgerChanged();
    await until('it is asked for', () => askedAt.length === 4);
    expect((askedAt[3] ?? 0) - (askedAt[0] ?? 0)).toBeLessThan(2500);
    stands = true;
    await until('it is known', () => readTarget(forwardFolder(own))?.gate?.port === 7171);
    expect(askedAt).toHaveLength(5);
  });

  it('goes when this machine shall host, and its ports are free then', async () => {
    const { pid } = forwarderNow(own);
    ledger = { ...ledger, gitlab: { ...ledger.gitlab, host: 'D', epoch: 5 } };
    keeper.ledgerChanged();
    await until('it has ended', () => !existsSync(`/proc/${pid}`) && !existsSync(forwardFolder(own)));
    const server = createServer().listen(ledger.gitlab.hosted?.port);
    await once(server, 'listening');
    server.close();
  });

  it('its own gate, which has the port while it ends, is no other program: it listens as soon as that is gone', async () => {
    const port = ledger.gitlab.hosted?.port ?? 0;
    const folder = makeGateFolder(own);
    await writeLease(folder, {
      ...{ id: '1', bootId: clock.bootId(), epoch: 5, until: 0, upstream: null, isServing: false, because: 'it moves' },
      tellsClient: false,
    });
    const door = doorWord({ kind: 'http', port, behind: 8080, proxy: true });
    const gate = spawn(process.execPath, [bin, '__gate', folder, String(gateUser), '1', door], { stdio: 'ignore' });
    children.push(gate);
    await until('the gate stands', () => gateNow(own).pid !== null);
    ledger = { ...ledger, gitlab: { ...ledger.gitlab, host: 'K', epoch: 6 } };
    keeper.ledgerChanged();
    await new Promise((done) => setTimeout(done, 1500));
    const left = existsSync(join(own, 'forward-left.json')) ? readFileSync(join(own, 'forward-left.json'), 'utf8') : '';
    expect(left).not.toContain(`"port":${port},`);
    gate.kill('SIGKILL');
    await until('it listens', () => keeper.listensOn(port), 10_000);
  });
});
