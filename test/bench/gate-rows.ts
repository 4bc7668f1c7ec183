import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../node/clock.ts';
import { doorWord, gateNow, makeGateFolder } from '../../node/hosting/gate/gate-files.ts';
import { writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { medianAtLeast, medianUnder, type Row, row } from './figures.ts';

/** As test/bench/run.mjs lays it. */
const bin = fileURLToPath(new URL('../../dist/autogit-node.cjs', import.meta.url));
const [behind, port, idle] = [18_081, 18_080, 1000];
const mebibytes = 512;
const serverText = `const part = Buffer.alloc(1 << 20, 'x');
require('node:http').createServer((request, response) => {
  if (request.url === '/small') return response.end('x'.repeat(2000));
  let left = ${mebibytes};
  const more = () => { while (left-- > 0) if (!response.write(part)) return response.once('drain', more); response.end(); };
  more();
}).listen(${behind}, '127.0.0.1', () => console.log('listens'));`;

/** The program `__gate` before a server, as processes of their own on the loopback. No engine and no rules. */
class GateOnLoopback {
  readonly #home = mkdtempSync('/var/tmp/t-hgate-bench-');
  readonly #children: ChildProcess[] = [];

  async begin(): Promise<void> {
    const server = spawn(process.execPath, ['-e', serverText], { stdio: ['ignore', 'pipe', 2] });
    this.#children.push(server);
    if (server.stdout) await once(server.stdout, 'data');
    const [folder, clock] = [makeGateFolder(this.#home), systemClock()];
    const [bootId, until] = [clock.bootId(), clock.bootMs() + 3_600_000];
    await writeLease(folder, { id: '1', bootId, epoch: 1, until, upstream: '127.0.0.1', isServing: true, because: '' });
    const words = ['__gate', folder, '64711', '1', doorWord({ kind: 'http', port, behind, proxy: false })];
    const args = ['--max-semi-space-size=2', bin, ...words];
    this.#children.push(spawn(process.execPath, args, { stdio: ['ignore', 2, 2] }));
    for (let tries = 0; gateNow(this.#home).pid === null; tries++) {
      if (tries > 500) throw new Error('the gate did not start');
      await sleep(20);
    }
  }

  get residentMiB(): number {
    const status = readFileSync(`/proc/${gateNow(this.#home).pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024;
  }

  end(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    rmSync(this.#home, { recursive: true, force: true });
  }
}

const urlAt = (at: number, path: string): string => `http://127.0.0.1:${at}${path}`;

/** MiB/s of one large answer. */
function pace(at: number): number {
  const words = ['-s', '-o', '/dev/null', '-w', '%{time_total}', urlAt(at, '/large')];
  return mebibytes / Number(execFileSync('curl', words, { encoding: 'utf8' }));
}

/** ms for one small answer by a connection of its own. */
async function smallMs(at: number): Promise<number> {
  const begun = performance.now();
  await new Promise<void>((done, failed) => {
    get(urlAt(at, '/small'), { agent: false }, (response) => response.resume().once('end', done)).once('error', failed);
  });
  return performance.now() - begun;
}

/** A connection that rests. */
async function rest(): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

/** What the gate costs: `npm run bench -- prove --only gate`. */
export async function gateRows(trials: number, say: (line: string) => void): Promise<Row[]> {
  const stand = new GateOnLoopback();
  const large = { ours: [] as number[], direct: [] as number[] };
  const small = { ours: [] as number[], direct: [] as number[] };
  const resting: Socket[] = [];
  try {
    await stand.begin();
    const alone = stand.residentMiB;
    for (let trial = 0; trial < trials; trial++) {
      large.direct.push(pace(behind));
      large.ours.push(pace(port));
    }
    say(`large answers: ${trials} of each`);
    for (let trial = 0; trial < 20 * trials; trial++) {
      small.direct.push(await smallMs(behind));
      small.ours.push(await smallMs(port));
    }
    say(`small answers: ${20 * trials} of each`);
    const busy = stand.residentMiB;
    while (resting.length < idle) resting.push(await rest());
    await sleep(2000);
    const held = stand.residentMiB;
    return [
      row({
        measure: `an answer of ${mebibytes} MiB through the gate`,
        unit: 'MiB/s',
        ours: large.ours,
        against: { name: 'directly', values: large.direct },
        targets: [medianAtLeast(300)],
        note: 'the target is a LAN of 2.5 Gbit/s; server, gate and client share this computer, on the loopback',
      }),
      row({
        measure: 'a small answer by a connection of its own, through the gate',
        unit: 'ms',
        ours: small.ours,
        against: { name: 'directly', values: small.direct },
        targets: [medianUnder(5)],
      }),
      row({
        measure: `resident memory of the gate with ${idle} connections that rest`,
        unit: 'MiB',
        ours: [held],
        targets: [medianUnder(128)],
        note: `${alone.toFixed(0)} at first, ${busy.toFixed(0)} behind the answers above`,
      }),
    ];
  } finally {
    for (const socket of resting) socket.destroy();
    stand.end();
  }
}
