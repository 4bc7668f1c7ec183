import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { Violation } from './violation.ts';
import { notYetWell } from './wellness.ts';
import type { World } from './world.ts';

/** How long a mesh must be well, in looks of half a second, until it counts as healed. */
const looksWell = 2;
const lookMs = 500;

/**
 * What becomes of a world: it is founded, then things break (a bout), then all is mended and it must get well. With a
 * life to live, calm follows each bout: jobs and changes come in, nothing breaks, and the leader must stay.
 */
export class Course {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  run(): void {
    const world = this.#world;
    const { chaosMs, healMs, lifeMs } = world.options;
    this.#found();
    this.#tend();
    world.timeline.after(300, () => world.people.connectGitlab());
    this.#bout(chaosMs, world.chance.between(200, 2500));
    world.timeline.runUntil(chaosMs);
    if (healMs > 0) this.#heal();
    while (world.now < lifeMs) {
      this.#calm(Math.min(lifeMs - world.now, world.chance.spread(20_000, 240_000)));
      if (world.now >= lifeMs) return;
      const until = world.now + world.chance.spread(0.2, 1) * chaosMs;
      this.#bout(until, 0);
      world.timeline.runUntil(until);
      this.#heal();
    }
  }

  /** Things break from now on, while people go on working. */
  #bout(untilMs: number, calmMs: number): void {
    const { timeline, people, faults, chance, isStorm, now } = this.#world;
    const isFirst = now === 0;
    const soon = isFirst ? 800 : 0;
    if (isStorm) timeline.after(soon, () => people.ask(untilMs));
    if (!isStorm || chance.maybe(0.3)) timeline.after(soon, () => people.pushJobs(untilMs - 3000));
    if (untilMs <= 0) return;
    if (chance.maybe(0.3)) {
      const isNow = chance.maybe(0.3);
      timeline.after(soon + chance.spread(1500, 10_000), () => people.disconnectGitlab(isNow));
    }
    if (this.#world.hosts) timeline.after(soon, () => people.moveGitlab(untilMs));
    timeline.after(calmMs, () => (isFirst ? faults.begin(untilMs) : faults.again(untilMs)));
  }

  /** What goes on by itself all the time: machines dial each other, people look after what lies about. */
  #tend(): void {
    this.#world.network.tend();
    this.#world.timeline.after(200, () => this.#tend());
  }

  #heal(): void {
    const world = this.#world;
    const { healMs } = world.options;
    const untilMs = world.now + healMs;
    world.transcript.say('world', 'heals');
    world.faults.heal();
    world.people.undrain();
    world.people.connectGitlab();
    for (const newcomer of world.waiting.splice(0)) world.people.letIn(newcomer);
    let missing = notYetWell(world);
    let wellSince = 0;
    for (let look = 0; world.now < untilMs; look += 1) {
      world.timeline.runUntil(world.now + lookMs);
      missing = notYetWell(world);
      wellSince = missing === null ? wellSince + 1 : 0;
      if (wellSince >= looksWell) return world.rare.isWell();
      if (world.leaderNow() === null && world.isStranded()) {
        world.rare.saw('stranded by a lost store');
        throw new Stranded();
      }
      world.people.lookAfterMachines();
      if (look % 10 !== 0) continue;
      world.people.undrain();
      world.people.connectAgain();
    }
    if (missing !== null)
      throw new Violation('a-healed-mesh-gets-well', `after ${healMs} ms without faults: ${missing}`);
  }

  /** Nothing breaks, people work: the leader stays. */
  #calm(ms: number): void {
    const world = this.#world;
    const until = world.now + ms;
    world.transcript.say('world', 'is calm');
    world.checks.calmBegins();
    world.people.liveCalmly(until);
    world.timeline.runUntil(until);
    world.checks.calmEnds();
  }

  #found(): void {
    const world = this.#world;
    const { chance, isStorm } = world;
    const [first, ...others] = world.machineIds();
    for (const machine of world.machines()) machine.turnOn();
    const founder = world.machine(first!);
    const ledger = foundedMesh({
      meshId: 'mesh',
      meshName: 'lab',
      era: 'era-0',
      node: founder.id,
      name: founder.name,
      store: founder.disk.store,
      wallMs: founder.wallMs(),
    });
    world.history.root(ledger);
    founder.disk.write([
      { key: 'accepted', value: ledger },
      { key: 'committed', value: ledger },
    ]);
    world.checks.landed(founder, [{ key: 'accepted', value: ledger }]);
    world.startAgent(founder.id);
    for (const id of others)
      if (others.length > 1 && chance.maybe(0.2)) world.waiting.push(id);
      else world.timeline.after(chance.spread(100, isStorm ? 800 : 6000), () => world.people.letIn(id));
  }
}

/** No rule can help this world any more, only a person (SAFETY L15): its story ends, and is counted. */
export class Stranded extends Error {}
