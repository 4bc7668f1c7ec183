import { jobRowsOf, statusOf } from '../../../node/agent/core-views.ts';
import { type Hosting, hostingOf } from '../../../scheduler/hosting/hosted-edits.ts';
import type { Agent } from '../agent.ts';
import type { GitlabJob } from '../gitlab.ts';
import type { Machine } from '../machine.ts';
import { Violation } from '../violation.ts';
import { notYetWell } from '../wellness.ts';
import { defaultOptions, World } from '../world.ts';
import { EvenChance } from './even-chance.ts';
import { type Line, steady, told } from './story-text.ts';

/** What others than the agents do, as far as a user would see it. */
const worldWords = /^(ask-\d+ |watchdog freezes|thaws|script of|container of|gives job|job \d+ )/;

/**
 * A mesh on which a story is played: kang founds it and leads, the others are let in, a GitLab is connected. What is
 * done and what is said of it become text: notes with their sentences, and what `status` shows when it is asked.
 */
export class Stage {
  readonly world: World;
  #onNote: (event: string) => void = (_event) => {};
  readonly #text: string[] = [];
  #lines: Line[] = [];
  #actAt = 0;
  #isOpen = false;
  /** So many times a person of the story has asked for something. */
  #asked = 1000;

  /** `hosts`: the first runs the mesh's own GitLab, in place of one that is connected; the others hold copies. */
  constructor(names: readonly string[] = ['kang', 'desktop-1', 'desktop-2'], hosts = false) {
    this.world = new World(1, {
      ...defaultOptions,
      chaosMs: 0,
      healMs: 0,
      isStorm: false,
      kinds: [],
      hosts,
      print: (line) => this.#overhear(line),
      stage: {
        names,
        chance: new EvenChance(),
        hear: (agent, effect) => {
          if (effect.kind === 'departed') this.#add(agent.machine.name, 'departed', effect.because);
          if (effect.kind !== 'note' || effect.level === 'debug') return;
          this.#add(agent.machine.name, effect.event, effect.because);
          this.#onNote(effect.event);
        },
      },
    });
    this.world.faults.isHealed = true;
    this.world.faults.mood.holdsFrames = true;
    this.world.run();
    for (let waited = 0; notYetWell(this.world) !== null || waited < 20_000; waited += 500) {
      if (waited > 60_000) throw new Violation('founded', `${notYetWell(this.world)}`);
      this.world.timeline.runUntil(this.world.now + 500);
    }
    this.#isOpen = true;
  }

  // --- what is said

  #add(who: string, event: string, text: string): void {
    if (!this.#isOpen) return;
    this.#lines.push({ afterMs: this.world.now - this.#actAt, who, event, text: steady(this.#named(text)) });
  }

  /** Machines are called as people call them. */
  #named(text: string): string {
    return text.replace(/\bn\d+\b/g, (id) => (this.world?.hasMachine(id) ? this.world.machine(id).name : id));
  }

  /** "      12.345 gitlab     gives job 1003 to n2" */
  #overhear(line: string): void {
    const who = line.slice(12, 22).trim();
    const what = line.slice(23);
    if (!worldWords.test(what)) return;
    if (who === 'gitlab') this.#add('GitLab', 'GitLab', what);
    else if (who === 'people') this.#add('a person', 'answer', what.replace(/^ask-\d+ /, ''));
    else if (this.world.hasMachine(who)) this.#add(this.world.machine(who).name, 'watchdog', what);
  }

  #flush(): void {
    this.#text.push(...told(this.#lines));
    this.#lines = [];
  }

  // --- what is done

  machine(name: string): Machine {
    const machine = this.world.machines().find((one) => one.name === name);
    if (!machine) throw new Error(`no machine ${name} on this stage`);
    return machine;
  }

  agent(name: string): Agent {
    const agent = this.world.agentOf(this.machine(name).id);
    if (!agent) throw new Error(`no agent runs on ${name}`);
    return agent;
  }

  /** Something happens; times of what follows count from here. */
  act(title: string, happen: () => void = () => {}): void {
    this.#flush();
    this.#text.push('', `* ${title}`);
    this.#actAt = this.world.now;
    happen();
  }

  wait(ms: number): void {
    this.world.timeline.runUntil(this.world.now + ms);
  }

  /** Until that is so; a story in which it never is, is broken. */
  until(what: string, isSo: () => boolean, limitMs = 120_000): void {
    const began = this.world.now;
    while (!isSo()) {
      if (this.world.now - began > limitMs) throw new Violation('the-story-goes-on', `${what}: not in ${limitMs} ms`);
      this.wait(20);
    }
  }

  /** When that note is next heard, so soon that its message is still on the wire. */
  atNote(wanted: string, happen: () => void): void {
    this.#onNote = (event) => {
      if (event !== wanted) return;
      this.#onNote = () => {};
      this.world.timeline.after(0.01, happen);
    };
  }

  /** What the story is about: it must be so now. */
  must(what: string, isSo: boolean): void {
    if (!isSo) throw new Violation('the-story-goes-on', `not so: ${what}`);
  }

  /** The one that leads, by its own word, by name; undefined when none or several do. */
  get leader(): string | undefined {
    const leading = this.world.agents().filter((agent) => agent.isRunning && agent.state.raft.leading !== null);
    return leading.length === 1 ? leading[0]?.machine.name : undefined;
  }

  get hosting(): Hosting | null {
    return hostingOf(this.world.history.top?.ledger ?? null);
  }

  get term(): number {
    return Math.max(...this.world.agents().map((agent) => agent.state.raft.term));
  }

  /** Every job has a result, or is tried again as another that has. */
  isDone(): boolean {
    return [...this.world.gitlab.jobs.values()].every((job) => job.status === 'success' || job.isRetried);
  }

  job(tags: string[], durationMs: number, retries = 0): GitlabJob {
    return this.world.gitlab.add(tags, durationMs, retries);
  }

  /** Both ways between one machine and all others, and GitLab. */
  unplug(name: string, ms: number): void {
    this.cutOff(name, ms);
    this.world.faults.nemesis.cutGitlab(this.machine(name).id, ms);
  }

  /** The machines do not hear it, nor it them; GitLab does. */
  cutOff(name: string, ms: number): void {
    const self = this.machine(name).id;
    for (const other of this.world.machineIds())
      if (other !== self) {
        this.world.faults.nemesis.cut(self, other, ms);
        this.world.faults.nemesis.cut(other, self, ms);
      }
  }

  kill(name: string): void {
    this.world.killAgent(this.machine(name).id);
  }

  start(name: string): void {
    this.world.startAgent(this.machine(name).id);
  }

  powerOff(...names: readonly string[]): void {
    for (const name of names) this.world.powerOff(this.machine(name).id);
  }

  /** The same disks, a new boot of each. */
  powerOn(...names: readonly string[]): void {
    for (const name of names) this.world.bringBack(this.machine(name));
  }

  /** A person types `recover --force` there, and names the machines seen switched off. */
  recover(name: string, seenOff: readonly string[]): void {
    const id = `ask-${this.#asked++}`;
    this.agent(name).feed({ kind: 'recovery-asked', id, era: `era-${id}`, seenOff });
  }

  /** A person changes a setting, on kang. */
  set(key: 'graceMs', value: number): void {
    const change = { kind: 'set', key, value } as const;
    this.agent('kang').feed({ kind: 'requested', requests: [{ id: `ask-${this.#asked++}`, change }] });
  }

  /** A person drains a machine, or takes it in again, on kang. */
  drain(name: string, drained: boolean): void {
    const change = { kind: 'drain', node: this.machine(name).id, drained } as const;
    this.agent('kang').feed({ kind: 'requested', requests: [{ id: `ask-${this.#asked++}`, change }] });
  }

  /** Nothing is missing. */
  isWell(): boolean {
    return notYetWell(this.world) === null;
  }

  /** As a desktop does it: the agent is told first, leaves, and the machine sleeps. */
  sleepPolitely(name: string): void {
    this.#leave(name, {});
    this.world.suspend(this.machine(name).id);
  }

  /** As `systemctl restart` or an upgrade does it: the agent says when it is back, and leaves. */
  restartPolitely(name: string): void {
    this.#leave(name, { backMs: 60_000 });
  }

  /** As one does it for the night: the agent leaves, and the power goes. */
  shutDown(name: string): void {
    this.#leave(name, {});
    this.powerOff(name);
  }

  #leave(name: string, more: { backMs?: number }): void {
    this.agent(name).feed({ kind: 'leave-asked', ...more });
    this.until(`${name} has left`, () => this.world.agentOf(this.machine(name).id) === undefined);
  }

  wakeUp(name: string): void {
    const { id } = this.machine(name);
    this.world.resume(id);
    this.world.startAgent(id);
  }

  // --- what is seen

  /** What `status` and `jobs` show, on every machine whose agent runs; equal views are one. */
  status(): void {
    this.#flush();
    const views = new Map<string, string[]>();
    for (const machine of this.world.machines()) {
      const agent = this.world.agentOf(machine.id);
      const view = agent?.isRunning ? viewOf(agent) : [agent ? 'does not answer' : 'no agent runs'];
      const key = view.map((line) => steady(this.#named(line))).join('\n');
      views.set(key, [...(views.get(key) ?? []), machine.name]);
    }
    for (const [view, names] of views) {
      const [first, ...rest] = view.split('\n');
      this.#text.push(`status  ${names.join(', ')}  ${first}`, ...rest.map((line) => `            ${line}`));
    }
  }

  text(): string {
    this.#flush();
    return this.#text.join('\n').trim();
  }
}

function viewOf(agent: Agent): string[] {
  const { state, machine } = agent;
  const view = { state, at: machine.bootMs(), wallMs: machine.wallMs() };
  const { leader, quorum, attention } = statusOf(view);
  return [
    `${leader ? `${leader.node} leads, term ${leader.term}` : 'no leader'}; ${quorum.sentence}`,
    ...attention
      .filter((one) => one.fix !== null || one.sentence !== quorum.sentence)
      .map(({ severity, sentence, fix }) => `${severity}: ${sentence}${fix ? `  -> ${fix}` : ''}`),
    ...jobRowsOf(view).rows.map(
      (row) => `job ${row.job}${row.node ? ` on ${row.node}` : ''} ${row.state}: ${row.because}`,
    ),
  ];
}
