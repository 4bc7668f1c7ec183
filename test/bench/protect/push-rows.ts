import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../../hosting/stand/machine.ts';
import { Pusher } from '../../hosting/stand/writers.ts';
import { Written } from '../../hosting/stand/written.ts';
import { figures, maxUnder, type Row, row, type Target } from '../figures.ts';
import type { ProtectStage } from './protect-stage.ts';
import { randomFile } from './random-file.ts';
import { overTheWire, took, withStand } from './stand.ts';

/** A round is made at most so often: whoever pushes more often waits for the next one. */
const pauseMs = 700;

const oneAndAHalf: Target = {
  sentence: 'median <= 1.5 x + 30, p99 <= 1.5 x + 30',
  holds: (ours, against) =>
    against !== null && ours.median <= 1.5 * against.median + 30 && ours.p99 <= 1.5 * against.p99 + 30,
};

/** What a push costs without us: git alone, and then snapshot, sync, send, receive, sync as one would type them. */
class BarePushes {
  readonly #host: Machine;
  readonly #standby: Machine;
  readonly #pusher: Pusher;
  #at = 0;

  constructor(host: Machine, standby: Machine, folder: string) {
    this.#host = host;
    this.#standby = standby;
    const repository = join(host.live, 'git', 'bare.git');
    Pusher.makeRepository(repository);
    this.#pusher = new Pusher(join(folder, 'clone-bare'), repository);
    for (const { mount } of [host, standby]) mkdirSync(join(mount, 'bare'));
    this.#copy(0);
  }

  #copy(at: number): number {
    const [from, to] = [join(this.#host.mount, 'bare'), join(this.#standby.mount, 'bare')];
    const basis = at === 0 ? '' : `-p ${from}/${at - 1}`;
    return took(
      `btrfs subvolume snapshot -r ${this.#host.live} ${from}/${at}; sync -f ${from}; ` +
        `btrfs send -q ${basis} ${from}/${at} | btrfs receive -q ${to}; sync -f ${to}`,
    );
  }

  async push(): Promise<number> {
    const at = ++this.#at;
    const ref = `bare-${at}`;
    this.#pusher.commit(ref);
    const began = performance.now();
    const { code, said } = await this.#pusher.push(ref);
    if (code !== 0) throw new Error(said);
    const ms = performance.now() - began + this.#copy(at);
    for (const { mount } of [this.#host, this.#standby])
      took(`btrfs subvolume delete ${join(mount, 'bare', String(at - 1))}`);
    return ms;
  }
}

async function pushed(written: Written, pusher: Pusher, at: number): Promise<number> {
  const ref = `timed-${at}`;
  pusher.commit(ref);
  const began = performance.now();
  const { code, said } = await pusher.push(ref);
  if (code !== 0) throw new Error(`push ${ref}: ${said}; ${written.problems.join('; ')}`);
  return performance.now() - began;
}

/** A push with the hook beside the bare commands, in turn; then while an artifact comes in; then with a standby that answers no more. */
export function pushRows({ trials, sizeBytes, say }: ProtectStage): Promise<Row[]> {
  return withStand(['standby'], (700 << 20) + Math.round(2.3 * sizeBytes), async (host, others, folder) => {
    const standby = others[0] as Machine;
    let dead: Promise<void> = Promise.resolve();
    const wire = overTheWire(() => dead);
    const written = new Written(host, standby, folder, { standbyOf: wire.standbyOf, hasQuorum: true });
    try {
      await written.begin(0);
      const pusher = new Pusher(join(folder, 'clone-timed'), written.repository);
      const bare = new BarePushes(host, standby, folder);
      for (let at = -3; at < 0; at++) await pushed(written, pusher, at);
      let at = 0;
      const turn = async (ours: number[], theirs: number[]): Promise<void> => {
        await sleep(pauseMs);
        ours.push(await pushed(written, pusher, at++));
        await sleep(pauseMs / 2);
        theirs.push(await bare.push());
      };
      const quiet = { ours: [] as number[], theirs: [] as number[] };
      for (let i = 0; i < 3 * trials; i++) await turn(quiet.ours, quiet.theirs);
      const steps = `; ms of its steps: ${stepsOf([host, standby])}`;
      say(`  quiet: ${quiet.ours.length} pushes${steps}`);

      const busy = { ours: [] as number[], theirs: [] as number[] };
      let isThere = false;
      const artifact = randomFile(join(host.bulk.live, 'artifact.bin'), sizeBytes).finally(() => (isThere = true));
      // It is copied when it is there: as long again.
      const until = (): boolean => isThere && busy.ours.length >= 2 * trials;
      while (!until()) await turn(busy.ours, busy.theirs);
      await artifact;
      say(`  beside an artifact: ${busy.ours.length} pushes`);

      let revive = (): void => {};
      dead = new Promise((resolve) => (revive = resolve));
      const first = await pushed(written, pusher, at++);
      const after: number[] = [];
      for (let i = 0; i < Math.max(5, trials / 2); i++) {
        await sleep(pauseMs);
        after.push(await pushed(written, pusher, at++));
      }
      revive();
      return [
        pushRow('a push with the hook, until it ends', quiet, steps),
        pushRow(`the same while an artifact of ${sizeBytes >> 20} MiB comes in and is copied`, busy),
        row({
          measure: 'the first push with a standby dead',
          unit: 'ms',
          ours: [first],
          targets: [maxUnder(2500)],
          note: 'it answers nothing any more, and its connection stands',
        }),
        row({
          measure: 'further pushes with that standby dead',
          unit: 'ms',
          ours: after,
          against: { name: 'before', values: quiet.ours },
          targets: [
            {
              sentence: 'median <= its median',
              holds: (ours, against) => against !== null && ours.median <= against.median,
            },
          ],
        }),
      ];
    } finally {
      wire.close();
      await written.stop();
    }
  });
}

/** Where a round's time goes: the median of each program that it runs. */
const stepsOf = (machines: readonly Machine[]): string =>
  machines
    .map(({ name, tools }) => {
      const steps = [...tools.took].map(([step, ms]) => `${step} ${figures(ms).median?.toFixed(0)}`);
      return `${name}: ${steps.join(', ')}`;
    })
    .join('; ');

const pushRow = (measure: string, { ours, theirs }: { ours: number[]; theirs: number[] }, steps = ''): Row =>
  row({
    measure,
    unit: 'ms',
    ours,
    against: { name: 'git, snapshot, sync, send | receive, sync', values: theirs },
    targets: [oneAndAHalf],
    note: `one pusher, ${pauseMs} ms after its last; PostgreSQL, Redis and files write beside; what two machines do is done by this one${steps}`,
  });
