import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../node/clock.ts';
import { forwardUser, gateUser } from '../../node/executors/run-uids.ts';
import { forwarderNow, makeForwardFolder, writeTarget } from '../../node/hosting/forward/forward-files.ts';
import { doorWord, gateNow, makeGateFolder } from '../../node/hosting/gate/gate-files.ts';
import { writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { doorFor, writeMemberSecret } from '../../node/hosting/gate/member-door.ts';
import { buildLan, type Lan } from '../root/lan.ts';
import { figures, medianAbove, type Row, ratioAtLeast, row } from './figures.ts';

/** As test/bench/run.mjs lays it. */
const bin = fileURLToPath(new URL('../../dist/autogit-node.cjs', import.meta.url));
const [behind, port, mebibytes] = [8080, 80, 1024];
const smallsATrial = 40;
/** Between two of them: how long one takes is asked here, not how many a second there may be. */
const restMs = 20;

/** git's own server of http, and a small page. */
const serverText = (root: string): string => `const { spawn } = require('node:child_process');
require('node:http').createServer((request, response) => {
  if (request.url === '/small') return response.end('x'.repeat(2000));
  const [path, query = ''] = request.url.split('?');
  const cgi = spawn('git', ['http-backend'], { stdio: ['pipe', 'pipe', 2], env: { PATH: process.env.PATH, GIT_PROJECT_ROOT: ${JSON.stringify(root)},
    GIT_HTTP_EXPORT_ALL: '1', PATH_INFO: path, QUERY_STRING: query, REQUEST_METHOD: request.method, CONTENT_TYPE: request.headers['content-type'] ?? '',
    HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '', GIT_PROTOCOL: request.headers['git-protocol'] ?? '',
    GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*' } });
  request.pipe(cgi.stdin);
  let head = Buffer.alloc(0);
  const first = (chunk) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\\r\\n\\r\\n');
    if (end < 0) return;
    cgi.stdout.off('data', first);
    for (const line of head.subarray(0, end).toString().split('\\r\\n')) { const at = line.indexOf(':'); if (line.slice(0, at) !== 'Status') response.setHeader(line.slice(0, at), line.slice(at + 1).trim()); }
    response.write(head.subarray(end + 4));
    cgi.stdout.pipe(response);
  };
  cgi.stdout.on('data', first);
}).listen(${behind}, () => console.log('listens'));`;

/** In one machine: small answers, each by a connection of its own; prints their ms. */
const smallText = `const { get } = require('node:http');
(async () => { const [url, count] = process.argv.slice(1); const ms = [];
for (let at = 0; at < +count; at++) { const begun = performance.now();
  await new Promise((done, failed) => get(url, { agent: false }, (response) => response.resume().once('end', done)).once('error', failed)); ms.push(performance.now() - begun);
  await new Promise((done) => setTimeout(done, ${restMs})); }
console.log(JSON.stringify(ms)); })();`;

/** `gate`: at the host itself; `ours`: by another machine and the gate. */
type Way = 'direct' | 'gate' | 'ours';

/** Three machines of a LAN in miniature: GitLab's with its gate, one that hands on, and who asks. Each has a cable of its own. */
class Forwarding {
  readonly #folders = ['gate', 'forward', 'git'].map((name) => mkdtempSync(`/var/tmp/t-forward-bench-${name}-`)) as [
    string,
    string,
    string,
  ];
  readonly #children: ChildProcess[] = [];
  readonly lan: Lan = buildLan(3);

  #start(machine: number, ...words: string[]): ChildProcess {
    const [file = '', ...args] = [...this.lan.inside(machine), process.execPath, ...words];
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 2] });
    this.#children.push(child);
    return child;
  }

  makeRepository(): void {
    const [, , folder] = this.#folders;
    const git = (...words: string[]): void =>
      void execFileSync('git', ['-C', join(folder, 'made'), '-c', 'core.compression=0', ...words], { stdio: 'ignore' });
    execFileSync('git', ['init', '-q', join(folder, 'made')]);
    execFileSync('sh', [
      '-c',
      `for at in $(seq ${mebibytes / 64}); do head -c 67108864 /dev/urandom > ${folder}/made/$at.bin; done`,
    ]);
    git('add', '.');
    git('-c', 'user.name=b', '-c', 'user.email=b@b', 'commit', '-qm', 'one');
    git('-c', 'pack.window=0', 'repack', '-adq');
    execFileSync('git', ['clone', '-q', '--bare', '--local', join(folder, 'made'), join(folder, 'big.git')]);
    rmSync(join(folder, 'made'), { recursive: true });
  }

  async begin(): Promise<void> {
    const [gateHome, home, folder] = this.#folders;
    const server = this.#start(1, '-e', serverText(folder));
    if (server.stdout) await once(server.stdout, 'data');
    const [gateFolder, clock] = [makeGateFolder(gateHome), systemClock()];
    const times = { bootId: clock.bootId(), until: clock.bootMs() + 3_600_000 };
    await writeLease(gateFolder, {
      ...{ id: '1', ...times, epoch: 1, upstream: '127.0.0.1', isServing: true, because: '' },
    });
    writeMemberSecret(gateFolder, gateUser);
    const door = doorWord({ kind: 'http', port, behind, proxy: false });
    this.#start(1, '--max-semi-space-size=2', bin, '__gate', gateFolder, String(gateUser), '1', door);
    await there(() => gateNow(gateHome).pid !== null);
    const own = doorFor(gateHome, 'D');
    if (own === null) throw new Error('the gate lets nobody in');
    const gate = { addresses: [this.lan.address(1)], ...own };
    await writeTarget(makeForwardFolder(home), { id: '1', ...times, node: 'D', gate, because: '' }, forwardUser);
    const words = ['__forward', makeForwardFolder(home), String(forwardUser), '1', `http/${port}`];
    this.#start(2, '--max-semi-space-size=2', bin, ...words);
    await there(() => forwarderNow(home).pid !== null);
  }

  /** 1 Gbit/s on each cable, or none. */
  limit(isLimited: boolean): void {
    for (const machine of [1, 2])
      if (isLimited)
        this.lan.run(machine, 'tc', ...'qdisc add dev eth0 root tbf rate 1gbit burst 512kb latency 50ms'.split(' '));
      else this.lan.run(machine, 'tc', 'qdisc', 'del', 'dev', 'eth0', 'root');
  }

  urlOf(way: Way): string {
    const machine = way === 'ours' ? 2 : 1;
    return `http://${this.lan.address(machine)}:${way === 'direct' ? behind : port}`;
  }

  /** MiB/s of a clone, by its own time. */
  clone(way: Way): number {
    const into = join(this.#folders[2], 'clone.git');
    const begun = performance.now();
    this.lan.run(3, 'git', 'clone', '-q', '--bare', `${this.urlOf(way)}/big.git`, into);
    const tookMs = performance.now() - begun;
    rmSync(into, { recursive: true });
    return (mebibytes * 1000) / tookMs;
  }

  smalls(way: Way): number[] {
    const said = this.lan.run(3, process.execPath, '-e', smallText, `${this.urlOf(way)}/small`, String(smallsATrial));
    return JSON.parse(said) as number[];
  }

  end(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    this.lan.remove();
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }
}

async function there(look: () => boolean): Promise<void> {
  for (let tries = 0; !look(); tries++) {
    if (tries > 500) throw new Error('it did not start');
    await sleep(20);
  }
}

type Both = { ours: number[]; direct: number[] };

/** What GitLab by another machine costs: `npm run bench -- prove --only forward`, as root (issue 10). */
export async function forwardRows(trials: number, say: (line: string) => void): Promise<Row[]> {
  const stand = new Forwarding();
  const [limited, free]: [Both, Both] = [
    { ours: [], direct: [] },
    { ours: [], direct: [] },
  ];
  try {
    stand.makeRepository();
    await stand.begin();
    for (let trial = 0; trial < trials; trial++)
      for (const way of ['direct', 'ours'] as const) free[way].push(stand.clone(way));
    say(`free: ${trials} clones of each, median ${figures(free.ours).median?.toFixed(0)} MiB/s`);
    stand.limit(true);
    for (let trial = 0; trial < trials; trial++)
      for (const way of ['direct', 'ours'] as const) limited[way].push(stand.clone(way));
    const note = 'git, its server, gate and forwarder share this computer; direct: past forwarder and gate';
    return [
      row({
        measure: 'a clone of 1 GiB by another machine, cables of 1 Gbit/s',
        ...{ unit: 'MiB/s', ours: limited.ours, against: { name: 'directly', values: limited.direct } },
        ...{ targets: [ratioAtLeast(0.95)], note },
      }),
      row({
        measure: 'the same without that limit',
        ...{ unit: 'MiB/s', ours: free.ours, against: { name: 'directly', values: free.direct } },
        ...{ targets: [ratioAtLeast(0.6)], note },
      }),
    ];
  } finally {
    stand.end();
  }
}

/** What forwarder and gate add to a small answer by a connection of its own: `npm run bench -- move --only latency`, as root. */
export async function latencyRows(trials: number, say: (line: string) => void): Promise<Row[]> {
  const stand = new Forwarding();
  const small: Record<Way, number[]> = { direct: [], gate: [], ours: [] };
  const ways = Object.keys(small) as Way[];
  try {
    await stand.begin();
    for (const way of ways) stand.smalls(way);
    for (let trial = 0; trial < 4 * trials; trial++) for (const way of ways) small[way].push(...stand.smalls(way));
    say(`${small.ours.length} small answers of each way`);
    const tenth = (values: readonly number[]): string =>
      (values.toSorted((a, b) => a - b)[Math.floor(values.length / 10)] ?? Number.NaN).toFixed(2);
    const note = `fastest tenth: directly ${tenth(small.direct)}, the gate ${tenth(small.gate)}, both ${tenth(small.ours)} ms; all of them share this computer`;
    const against = { name: 'directly', values: small.direct };
    return [
      row({
        measure: 'a small answer by a connection of its own, by another machine and the gate',
        ...{ unit: 'ms', ours: small.ours, against, targets: [medianAbove(0.5)], note },
      }),
      row({
        measure: "the same at the host's own address, by the gate alone",
        ...{ unit: 'ms', ours: small.gate, against, targets: [medianAbove(0.5)] },
      }),
    ];
  } finally {
    stand.end();
  }
}
