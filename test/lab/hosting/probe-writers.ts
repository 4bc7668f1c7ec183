import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

/** One write that was acknowledged. Times are ms of the kernel's monotonic clock, which all machines of a lab share. */
export interface Ack {
  /** The machine at which it was written. */
  from: string;
  /** Where to: the door of some machine, or a container's own address. */
  target: string;
  start: number;
  end: number;
  /** Who acknowledged it: the host that GitLab itself names in its answer, or the mark of its container. */
  by: string;
}

/** ms that an answer is waited for. */
const answerMs = 1000;
/** One that took longer, with some room, waited in a machine that stood still, and may have been given at any time since. */
export const isTimed = ({ start, end }: Ack): boolean => end - start <= answerMs * 1.2;

/** Where it is written. */
interface ProbePlace<Machine> {
  machines: readonly Machine[];
  /** GitLab's address at each machine. */
  doors: readonly string[];
  /** Own addresses of the containers of GitLab that run there; rejects where nobody can say. */
  addressesOn(machine: Machine): Promise<string[]>;
  /** An administrator's. */
  token: string;
  /** A project that is there, by its path. */
  project: string;
  /** GitLab's address is a name, which says nothing of who answers. */
  isNamed?: boolean;
}

/** Runs in a machine's network: writes to every target about once a second, and prints what was acknowledged, and what was not. */
const script = `
const { from, token, project, isNamed, answerMs } = JSON.parse(process.env.PROBE);
const now = () => Number(process.hrtime.bigint() / 1000n) / 1000;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const live = new Set();
async function write(target) {
  for (let number = 0; live.has(target); number += 1) {
    const start = now();
    let told = { from, target, end: null };
    const init = { method: 'PUT', headers: { 'private-token': token, 'content-type': 'application/json' } };
    try {
      const body = JSON.stringify({ description: from + ' ' + number });
      const answer = await fetch(target + '/api/v4/projects/' + encodeURIComponent(project), { ...init, body, signal: AbortSignal.timeout(answerMs) });
      const { web_url: url } = answer.ok ? await answer.json() : {};
      const by = !answer.ok ? null : isNamed ? answer.headers.get('x-stand-in') : new URL(url).hostname;
      if (by !== null) told = { from, target, start, end: now(), by };
    } catch {}
    process.stdout.write(JSON.stringify(told) + '\\n');
    await sleep(600 + Math.random() * 400);
  }
}
let rest = '';
process.stdin.on('data', (data) => {
  const lines = (rest + data).split('\\n');
  rest = lines.pop();
  const targets = lines.length > 0 ? JSON.parse(lines.at(-1)) : [...live];
  for (const one of live) if (!targets.includes(one)) live.delete(one);
  for (const one of targets) if (!live.has(one)) { live.add(one); void write(one); }
});
process.stdin.on('end', () => process.exit(0));
`;

/** Own addresses of the containers of an image that run in the engine at `host`. Rejects where that does not say, as of a machine that stands still. */
export async function addressesIn(host: string, image: string): Promise<string[]> {
  const env = { ...process.env, DOCKER_HOST: host };
  const ask = async (...args: string[]): Promise<string[]> =>
    (await promisify(execFile)('docker', args, { env, timeout: 3000 })).stdout.split('\n').filter(Boolean);
  const running = await ask('ps', '-q', '--filter', `ancestor=${image}`);
  const form = '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}';
  return running.length === 0 ? [] : ask('inspect', '-f', form, ...running);
}

/** Writers at every machine, to every machine's door, and to the own address of each container of GitLab that runs there. */
export class ProbeWriters<Machine extends { name: string; net: string }> {
  readonly #place: ProbePlace<Machine>;
  readonly #children = new Map<string, ChildProcess>();
  readonly #asked = new Set<string>();
  #acks: Ack[] = [];
  /** Writes to a container's own address that nobody acknowledged. */
  refusedAround = 0;

  constructor(place: ProbePlace<Machine>) {
    this.#place = place;
    const { token, project, isNamed } = place;
    for (const { name, net } of place.machines) {
      const PROBE = JSON.stringify({ from: name, token, project, isNamed, answerMs });
      const words = [net, process.execPath, '--input-type=module', '-e', script];
      const child = spawn('nsenter', words, { env: { ...process.env, PROBE }, stdio: ['pipe', 'pipe', 'inherit'] });
      createInterface({ input: child.stdout! }).on('line', (line) => this.#told(JSON.parse(line)));
      child.stdin!.on('error', () => undefined);
      this.#children.set(name, child);
    }
  }

  #told(write: Ack | { target: string; end: null }): void {
    if (write.end !== null) this.#acks.push(write);
    else if (!this.#place.doors.includes(write.target)) this.refusedAround += 1;
  }

  /** What is written to follows the containers that run now; of a machine that does not say, those of before. */
  look(): void {
    const { machines, doors } = this.#place;
    for (const machine of machines) {
      if (this.#asked.has(machine.name)) continue;
      this.#asked.add(machine.name);
      void this.#place
        .addressesOn(machine)
        .then((own) => {
          const targets = [...doors, ...own.map((one) => `http://${one}`)];
          this.#children.get(machine.name)?.stdin?.write(`${JSON.stringify(targets)}\n`);
        })
        .catch(() => undefined)
        .finally(() => this.#asked.delete(machine.name));
    }
  }

  /** Those since the last time. */
  taken(): Ack[] {
    const acks = this.#acks;
    this.#acks = [];
    return acks;
  }

  end(): void {
    for (const child of this.#children.values()) child.kill('SIGKILL');
  }
}

/**
 * What no writer may have seen; null where there is nothing. `epochs`: how many began meanwhile. An answer goes through a gate
 * between its start and its end, and a gate opens elsewhere seconds after the last lease is out: so answers of two hosts never
 * overlap, nor alternate more often than there are epochs.
 */
export function whatTwoDid(acks: readonly Ack[], doors: readonly string[], epochs: number): string | null {
  const around = acks.find(({ target }) => !doors.includes(target));
  if (around) return `${around.target}, a container's own address, took a write of ${around.from}`;
  const sure = acks.filter(isTimed).sort((a, b) => a.end - b.end);
  let changes = 0;
  for (const [index, ack] of sure.entries()) {
    const before = sure[index - 1];
    if (before === undefined || before.by === ack.by) continue;
    changes += 1;
    if (ack.start < before.end)
      return `${before.by} and ${ack.by} acknowledged within ${Math.round(before.end - ack.start)} ms: ${JSON.stringify([before, ack])}`;
  }
  return changes > epochs ? `who acknowledged changed ${changes} times in ${epochs} epochs` : null;
}
