import type { Era, Ledger, Run } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { type Stamp, showStamp } from '../../protocol/stamp.ts';
import type { Effect, EffectOf, Write } from '../../scheduler/effects.ts';
import type { Input } from '../../scheduler/inputs.ts';
import type { CoreState } from '../../scheduler/state.ts';
import type { Agent } from './agent.ts';
import { ContactRule } from './contact-rule.ts';
import type { Container } from './container.ts';
import { ForgetfulRule } from './forgetful-rule.ts';
import { secretMark } from './gitlab.ts';
import { type Doc, quorum } from './history.ts';
import { HoldRule } from './hold-rule.ts';
import type { Machine } from './machine.ts';
import { RetryRule } from './retry-rule.ts';
import { demandOfTags, excessOf } from './sim-demand.ts';
import { answersRightly, believesNothingImpossible } from './step-rules.ts';
import { require as must } from './violation.ts';
import { notFollowed } from './wellness.ts';
import type { World } from './world.ts';

const diskOf = ({ machine }: Agent): string => `${machine.id}/${machine.disk.store}`;

/** How long after a resume the watchdog may need to look and to freeze what thawed with the machine. */
const afterResumeMs = 280;

const isOpen = ({ state }: Run): boolean => ['taken', 'running', 'finished'].includes(state);
const hasRunner = (ledger: Ledger, runner: number): boolean =>
  Object.values(ledger.classes).some((entry) => entry.runner === runner);

/**
 * The safety rules, each a function of its own, looked at when something happens and not afterwards. They go by what is
 * on the disks and on the wire (History), never by what a node believes.
 */
export class Checks {
  readonly #world: World;
  readonly #grantsTaken = new Set<string>();
  readonly #holds = new HoldRule();
  readonly #grants = new Map<string, { term: number }>();
  /** Root job -> its container that makes progress. */
  readonly #active = new Map<number, Set<Container>>();
  /** The leader of a calm mesh. */
  #calm: Agent | null = null;
  readonly forgetful = new ForgetfulRule();
  readonly retries: RetryRule;
  readonly #contact = new ContactRule();

  constructor(world: World) {
    this.#world = world;
    this.retries = new RetryRule(world);
  }

  // --- what a step does

  stepped(agent: Agent, before: CoreState, input: Input, effects: readonly Effect[]): void {
    const { figures } = this.#world;
    const leads = agent.state.raft.leading !== null;
    if (leads && (before.raft.leading === null || before.raft.term !== agent.state.raft.term)) {
      figures.add('elections');
      this.#world.rare.elected(agent, before);
      must(
        this.#calm === null,
        'a-calm-mesh-keeps-its-leader',
        () => `${agent.life} is elected in term ${agent.state.raft.term}, and nothing had broken`,
      );
      this.#electedByMajority(agent, before);
    }
    // Several proposals of one step reach the disk as the newest of them; the others may be committed by themselves.
    const { proposed } = agent.state.raft.leading ?? {};
    if (proposed && proposed !== before.raft.leading?.proposed)
      for (const { ledger } of proposed) this.#proposes(agent, ledger);
    if (leads && input.kind === 'heard' && input.message.kind === 'ack')
      this.#contact.counts(agent, input.from, input.message);
    if (input.kind === 'heard' && input.message.kind === 'vote') this.#remembersItsVote(agent, before);
    if (input.kind === 'heard') this.#world.rare.heard(before, input.from, input.message);
    if (input.kind === 'heard' && leads) this.#leadsInTheNewestEra(agent, input.era);
    if (input.kind === 'heard') answersRightly(agent.life, before, input.message, input.era, effects);
    if (input.kind === 'heard') believesNothingImpossible(agent.life, before, input.from, input.message, effects);
    this.forgetful.stepped(agent, input, effects);
    if (input.kind === 'heard' && input.message.kind === 'grant')
      this.#staleGrantIsRefused(agent, input.message, effects);
  }

  /** SAFETY L10: what is on disk is not forgotten by a restart. */
  #remembersItsVote({ life, machine }: Agent, { raft }: CoreState): void {
    const remembers = raft.votedFor !== null || machine.disk.mayVoteIn(raft.term, raft.accepted.era);
    must(remembers, 'a-vote-is-remembered', () => `${life} has voted in term ${raft.term}, and does not remember it`);
  }

  /** SAFETY L15: a lower era stops leading on sight. */
  #leadsInTheNewestEra({ life, state }: Agent, heard: Era | null | undefined): void {
    const { era } = state.raft.accepted;
    must(
      !heard || heard.counter <= era.counter,
      'a-lower-era-stops-on-sight',
      () => `${life} leads on in ${era.id}, and has heard of ${heard?.id}`,
    );
  }

  /** SAFETY L2, L10: votes of a majority, in both halves, on disk. */
  #electedByMajority(agent: Agent, before: CoreState): void {
    const { term } = agent.state.raft;
    const { configuration, stamp, era } = before.raft.accepted;
    const { history } = this.#world;
    const self = agent.machine.id;
    must(
      quorum(configuration, (disk) => history.voteOf(disk, era, term) === self),
      'elected-by-majority',
      () =>
        `${agent.life} leads term ${term} with ${showStamp(stamp)}, configuration ${JSON.stringify(configuration)}, but on disk are only the votes ${[...history.promises].filter(([at, to]) => at.endsWith(`${term}`) && to === self).map(([at]) => at)}`,
    );
  }

  #staleGrantIsRefused(agent: Agent, grant: PeerMessage & { kind: 'grant' }, effects: readonly Effect[]): void {
    const { term } = agent.state.raft;
    if (grant.term >= term) return;
    for (const effect of effects)
      if (effect.kind === 'persist')
        for (const write of effect.writes)
          if (write.key === 'asking')
            must(
              !write.value.some((asking) => asking.grant === grant.grant),
              'stale-grant',
              () => `${agent.life} in term ${term} takes the grant ${grant.grant} of term ${grant.term}`,
            );
  }

  // --- what a node does

  performs(agent: Agent, effect: Effect): void {
    switch (effect.kind) {
      case 'persist':
        for (const write of effect.writes) this.#writes(agent, write);
        return;
      case 'send':
        return this.#says(agent, effect);
      case 'publish-ledger':
        this.#holds.publishes(agent, effect.ledger, this.#world.now);
        return this.#actsOnCommitted(agent, effect.ledger, 'publishes');
      case 'note':
        this.forgetful.noted(effect.event, agent);
        return this.hasNoSecret(agent, JSON.stringify(effect));
      case 'answer':
        return this.#answersWhatIsCommitted(agent, effect);
      case 'take-job':
        return this.#takesRightly(agent, effect);
      case 'fail-run':
        this.#mayAct(agent, effect.kind);
        this.#holds.loses(agent, effect.run, this.#topOf(agent), this.#world.now);
        return this.#lostIsCommitted(agent, effect.run.run);
      case 'delete-runner':
        // What this node's own call made and nobody recorded is its own to take away, whoever leads.
        if ([...this.#world.history.docs.values()].some((doc) => hasRunner(doc.ledger, effect.runner)))
          this.#mayAct(agent, effect.kind);
        return;
      case 'rescue-job':
        this.#mayAct(agent, effect.kind);
        return this.retries.rescues(agent.life, this.#topOf(agent), effect.job);
      case 'remove-runners':
        this.#mayAct(agent, effect.kind);
        return this.#nothingRuns(agent);
      case 'retry-job':
        this.#mayAct(agent, effect.kind);
        return this.retries.asks(agent.life, this.#topOf(agent), effect);
      case 'create-runner':
        return this.#mayAct(agent, effect.kind);
      default:
        return;
    }
  }

  #writes(agent: Agent, write: Write): void {
    if (write.key === 'accepted' && write.value) this.#proposes(agent, write.value);
    // An era's first ledger is committed by being on this disk.
    if (write.key === 'committed' && write.value && !this.#world.history.beginsEra(write.value))
      this.#actsOnCommitted(agent, write.value, 'writes as committed');
  }

  /** A ledger that this node accepted, or, leading, made itself. */
  #proposes(agent: Agent, ledger: Ledger | null): void {
    if (!ledger) return;
    const { history } = this.#world;
    const { leading, term } = agent.state.raft;
    const isOwn = leading !== null && ledger.stamp.term === term;
    agent.doc = history.saw(ledger, agent.life, agent.doc, isOwn);
  }

  /** SAFETY L1: only what a quorum has on disk decides anything. */
  #actsOnCommitted(agent: Agent, ledger: Ledger, verb: string): void {
    const doc = this.#world.history.find(ledger);
    must(!!doc?.isCommitted, 'act-on-committed', () => {
      const holders = doc ? [...doc.holders].join(' ') : 'nobody';
      return `${agent.life} ${verb} ${showStamp(ledger.stamp)}, configuration ${JSON.stringify(ledger.configuration)}, which is on the disks of ${holders}`;
    });
  }

  /** SAFETY L10: what is said is on disk before. */
  #says(agent: Agent, { to, message, era = agent.state.raft.accepted.era }: EffectOf<'send'>): void {
    const { history } = this.#world;
    switch (message.kind) {
      case 'vote-answer':
        if (!message.granted) return;
        this.forgetful.promises(agent, message.store);
        // A newer term on disk rules a second vote out just as well.
        return must(
          history.voteOf(diskOf(agent), era, message.term) === to || agent.machine.disk.promisedTerm > message.term,
          'vote-after-fsync',
          () => `${agent.life} tells ${to} of its vote in term ${message.term}, and it is not on disk`,
        );
      case 'ack':
        this.forgetful.promises(agent, message.store);
        return this.#isOnDisk(agent, era, message.stamp, 'ack-after-fsync');
      case 'on-disk':
        this.forgetful.promises(agent, message.store);
        return this.#isOnDisk(agent, era, message.stamp, 'leader-says-its-disk-after-fsync');
      case 'append': {
        history.leads(era, message.term, agent.life);
        this.#contact.sends(agent, era, message.term, message.round);
        if (message.ledger) agent.doc = history.saw(message.ledger, agent.life, agent.doc, true);
        const committed = history.find({ era, stamp: message.committed });
        return must(
          message.committed.term === 0 || !!committed?.isCommitted,
          'act-on-committed',
          () => `${agent.life} says that ${showStamp(message.committed)} is committed, and it is not`,
        );
      }
      case 'grant':
        this.#grants.set(message.grant, { term: message.term });
        this.#mayAct(agent, 'grant');
        return this.#classIsReady(agent, message.class, message.token);
      case 'own-runs':
        for (const run of message.runs)
          if (run.state === 'taken' || run.state === 'running')
            must(
              agent.machine.disk.runs.has(run.run),
              'run-on-disk-before-it-is-told',
              () => `${agent.life} tells of ${run.run}, and it is not on its disk`,
            );
        return;
      default:
        return;
    }
  }

  /** SAFETY L10: what was acknowledged, or what a leader says of its own disk, counts there. */
  #isOnDisk(agent: Agent, era: Era, stamp: Stamp | null, rule: string): void {
    const has = (): string => `${agent.life} says that ${JSON.stringify(stamp)} is on its disk, and it is not`;
    must(!stamp || this.#world.history.keeps(diskOf(agent), agent.machine.disk, { era, stamp }), rule, has);
  }

  /** SAFETY J5, L3: only a leader whose first ledger of the term is committed grants, or writes to GitLab. */
  #mayAct(agent: Agent, what: string): void {
    const { term, leading } = agent.state.raft;
    const first = this.#world.history.firstOf(agent.state.raft.accepted.era, term);
    must(
      leading !== null && !!first?.isCommitted,
      'only-a-leader-that-may-act',
      () =>
        `${agent.life} does ${what} in term ${term}, ${leading ? 'leading' : 'not leading'}, its first ledger not committed`,
    );
  }

  /** What is committed in the era that this agent lives in. */
  #topOf({ state }: Agent): Ledger | undefined {
    return this.#world.history.topOf(state.raft.accepted.era)?.ledger;
  }

  /** SAFETY J7: the class's runner is committed before anybody gets a grant by it; of a restore a deposed leader may not know yet. */
  #classIsReady(agent: Agent, key: string, token: string): void {
    const [top, own] = [this.#topOf(agent), agent.ledger];
    const known = top && own && top.gitlab.epoch > own.gitlab.epoch ? own : top;
    must(
      known?.classes[key]?.token === token,
      'grant-after-the-class-is-committed',
      () => `${agent.life} grants by class "${key}", whose token is not in the committed ledger`,
    );
  }

  #nothingRuns(agent: Agent): void {
    const { gitlab, runs } = this.#topOf(agent) ?? {};
    const isSaid = !!(gitlab?.leaving ?? gitlab?.hosted?.ending);
    must(isSaid, 'disconnecting-is-committed-first', () => `${agent.life} removes the runners`);
    const open = Object.values(runs ?? {}).find(isOpen);
    must(!open, 'runners-go-when-nothing-runs', () => `${agent.life} removes runners, ${open?.run} is ${open?.state}`);
  }

  #lostIsCommitted(agent: Agent, run: string): void {
    const shown = agent.state.raft.committed?.runs[run];
    must(
      shown?.state === 'lost',
      'lost-is-committed-first',
      () => `${agent.life} fails ${run} at GitLab, and what it knows to be committed says ${shown?.state}`,
    );
  }

  /** SAFETY J3, J5: asking is on disk before the POST; a grant is used once; the room is there. */
  #takesRightly(agent: Agent, effect: Effect & { kind: 'take-job' }): void {
    const { machine } = agent;
    must(
      machine.disk.asking.some((asking) => asking.grant === effect.grant),
      'asking-on-disk',
      () => `${agent.life} asks GitLab by ${effect.grant} before that is on its disk`,
    );
    must(
      !this.#grantsTaken.has(effect.grant),
      'grant-used-once',
      () => `${agent.life} uses the grant ${effect.grant} a second time`,
    );
    this.#grantsTaken.add(effect.grant);
    agent.runs.claims.set(effect.grant, { demand: demandOfTags(effect.tags), gpus: effect.gpus });
    this.#hasRoom(agent);
  }

  /** What was taken and asked for fits in the machine, and no GPU is given to two. */
  #hasRoom(agent: Agent): void {
    const excess = excessOf(agent.machine.build, [...agent.runs.claims.values()]);
    must(excess === null, 'no-node-over-its-room', () => `${agent.life}: ${excess}`);
  }

  #answersWhatIsCommitted(agent: Agent, { id, outcome }: Effect & { kind: 'answer' }): void {
    if (outcome.state !== 'done' || !agent.doc?.requests.has(id)) return;
    // Nearly always one of those that this node went through.
    for (let doc: Doc | null = agent.doc; doc?.requests.has(id); doc = doc.parent) if (doc.isCommitted) return;
    const docs = [...this.#world.history.docs.values()];
    must(
      docs.some((doc) => doc.isCommitted && doc.requests.has(id)),
      'answer-after-commit',
      () => `${agent.life} answers ${id}, "${outcome.because}", and no committed ledger has it`,
    );
  }

  /** What everybody hears or reads: a note, the bytes of a report. */
  hasNoSecret({ life }: Agent, said: string | Buffer): void {
    must(!said.includes(secretMark), 'no-secret', () => `${life} lets out a secret: ${`${said}`.slice(0, 400)}`);
  }

  // --- what reaches a disk

  /** `before`: the id that the store went by until then. */
  landed(machine: Machine, writes: readonly Write[], before = machine.disk.store): void {
    this.#world.history.landed(machine.id, machine.disk, writes, before);
  }

  // --- what runs

  /** SAFETY J1: a job and its retry never make progress at the same time. */
  runIsActive(container: Container, machine: Machine): void {
    const { now, timeline, gitlab } = this.#world;
    if (!container.isActive) return;
    const since = now - machine.resumedAt;
    if (since < afterResumeMs) {
      // What thawed with its machine goes on until the watchdog's first look: no rule can forbid that.
      timeline.after(afterResumeMs - since + 1, () => this.runIsActive(container, machine));
      return;
    }
    const root = gitlab.jobs.get(container.run.job)?.root ?? container.run.job;
    const others = this.#active.get(root) ?? new Set();
    this.#active.set(root, others.add(container));
    for (const other of others) {
      if (other === container || !other.isActive) continue;
      if (now - other.machine.resumedAt < afterResumeMs) continue;
      must(
        false,
        'no-run-on-two-nodes',
        () =>
          `job ${root} makes progress as ${other.run.run} on ${other.run.node} and as ${container.run.run} on ${container.run.node}`,
      );
    }
  }

  runEnded(container: Container): void {
    const root = this.#world.gitlab.jobs.get(container.run.job)?.root ?? container.run.job;
    this.#active.get(root)?.delete(container);
  }

  // --- in calm

  isCalm = (): boolean => this.#calm !== null;
  calmBegins(): void {
    this.#calm = this.#world.agents().find((agent) => agent.state.raft.leading !== null) ?? null;
  }

  calmEnds(): void {
    const leader = this.#calm;
    this.#calm = null;
    must(
      leader?.state.raft.leading != null,
      'a-calm-mesh-keeps-its-leader',
      () => `${leader?.life} leads no more, and nothing had broken`,
    );
    const missing = notFollowed(this.#world);
    must(missing === null, 'a-calm-mesh-stays-well', () => `after calm: ${missing}`);
  }
}
