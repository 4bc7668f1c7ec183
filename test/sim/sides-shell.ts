import { readRoundName, roundText } from '../../protocol/round-name.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { whyNoPush } from '../../scheduler/two-sides.ts';
import type { Agent } from './agent.ts';
import type { World } from './world.ts';

const turnMs = 1000;
/** ms until somebody has had compared what a machine keeps, once it has said so. */
const looksMs = { least: 30_000, most: 45_000 } as const;

/**
 * What a machine served beside a mesh that was recovered by force (SAFETY H10): it says what it keeps, a person looks at it in the end,
 * and the host asks before each push whether it may be taken. Only such meshes have any of it: all other worlds stay as they were.
 */
export class SidesShell {
  readonly #world: World;
  readonly #agent: Agent;
  #isTurning = false;
  #said = '';

  constructor(world: World, agent: Agent) {
    this.#world = world;
    this.#agent = agent;
  }

  refusesPush(): boolean {
    const { state, ledger, machine } = this.#agent;
    const isHeld = whyNoPush({ jobs: state.jobs }, ledger, machine.id) !== null;
    if (isHeld) this.#world.rare.saw('push held as two sides met');
    return isHeld;
  }

  tend(): void {
    if (this.#isTurning || !this.#agent.isAlive || this.#agent.ledger?.recovery === undefined) return;
    this.#look();
    this.#isTurning = true;
    this.#world.timeline.after(turnMs, () => {
      this.#isTurning = false;
      this.#agent.later(() => this.tend());
    });
  }

  #look(): void {
    const { ledger, machine } = this.#agent;
    const { hosted } = machine;
    const hosting = hostingOf(ledger);
    const { volume, fenced } = hosted;
    if (hosting === null || hosting.host === machine.id) return;
    const isOfBefore = volume !== null && volume.data === hosting.data && volume.epoch !== hosting.epoch;
    const key = isOfBefore ? `${volume.data} fenced-${volume.epoch}` : '';
    if (isOfBefore && !fenced.has(key)) {
      const { least, most } = looksMs;
      const looksAt = this.#world.now + least + ((volume.writes * 997) % (most - least));
      fenced.set(key, {
        name: `fenced-${volume.epoch}`,
        data: volume.data,
        epoch: volume.epoch,
        writes: volume.writes,
        looksAt,
      });
    }
    const own = [...fenced.values()].filter(({ data }) => data === hosting.data);
    const report = {
      ...{ data: hosting.data, newest: null, freeBytes: 0, problem: null },
      fenced: own.map((one) => ({
        ...{ name: one.name, at: 0, bytes: null },
        ...(this.#world.now >= one.looksAt && { looked: true }),
        ...this.#took(one, hosting.copies?.bases),
      })),
    };
    const said = JSON.stringify(report);
    if (said === this.#said) return;
    this.#said = said;
    this.#agent.feed({ kind: 'standby-seen', report });
  }

  /** By the round with which the mesh went on, where it is here. */
  #took(
    { data, epoch, writes }: { data: string; epoch: number; writes: number },
    bases: Readonly<Record<string, unknown>> = {},
  ): { took?: 'none' | 'more' } {
    const next = Object.keys(bases)
      .map(Number)
      .filter((one) => one > epoch)
      .sort((a, b) => a - b)[0];
    const base = next === undefined ? undefined : (bases[String(next)] as Parameters<typeof roundText>[0]);
    const name = base && readRoundName(roundText(base));
    const held = name ? this.#agent.machine.hosted.held.get(`${data} ${roundText(name)}`) : undefined;
    return held === undefined ? {} : { took: writes > held ? 'more' : 'none' };
  }
}
