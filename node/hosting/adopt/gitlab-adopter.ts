import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import { epochAfter } from '../../../scheduler/hosting/epochs.ts';
import { hostingOf } from '../../../scheduler/hosting/hosted-edits.ts';
import { nodeName } from '../../../scheduler/snapshot-view.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import { type GitlabLife, gitlabTimings } from '../gitlab-state.ts';
import { withFix } from '../with-fix.ts';
import type { AdoptedPlace, OldContainer } from './adopt-ports.ts';
import { type Adoption, type AdoptionJournal, isOver } from './adoption-journal.ts';
import { goBack, requireNews } from './way-back.ts';

interface AdopterOptions {
  self: NodeId;
  journal: AdoptionJournal;
  log: Log;
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  /** Ends early with the signal. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  old: OldContainer;
  place: AdoptedPlace;
  /** Of the GitLab with these data, where this machine looks after it. */
  life(data: string): GitlabLife | null;
}

const timings = {
  lookMs: 500,
  /** What failed and may be better later. */
  retryMs: 5000,
  /** Starts in vain, and then it goes back; as after a restore. */
  faultsMost: 2,
} as const;

/** It cannot go on: what was begun is undone. */
class Impossible extends Error {}

const refused = (sentence: string, hint: string): AutogitError => new AutogitError('unsupported', sentence, { hint });
const refusal = {
  unreadable: (sentence: string) =>
    refused(sentence, 'see whether a container stands still by it (docker ps -a), start that, and move the file away'),
  underWay: () =>
    refused('a GitLab is being taken over on this machine already', 'watch it: autogit-node gitlab adopt'),
  meanwhile: () =>
    refused('a GitLab was taken over, or given back, while this was looked at', 'ask again: autogit-node gitlab adopt'),
};

/**
 * Makes a person's container the mesh's GitLab, step by step from what its journal says; what fails before GitLab served through
 * the gate brings the old one back. Until then nothing of it is changed but that it stands still under another name.
 */
export class GitlabAdopter {
  readonly #options: AdopterOptions;
  readonly #end = new AbortController();
  #loop: Promise<void> | null = null;
  #phase: { phase: string; percent: number | null } | null = null;
  #problem: string | null = null;
  #bootingSince: number | null = null;
  /** The mesh has removed this machine: its ledger here may never say so. A copy ends at once: the agent has seconds. */
  readonly #givenUp = new AbortController();

  constructor(options: AdopterOptions) {
    this.#options = options;
  }

  /** Goes on with what an agent of before began. */
  start(): void {
    if (this.#isUnderWay()) this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#loop;
  }

  /** The mesh has removed this machine. Resolves when the old container is back, where there is one that waits for it. */
  async removed(): Promise<void> {
    const known = this.#known;
    if (known === null || isOver(known) || known.step === 'served') return this.#givenUp.abort();
    if (known.step !== 'returning') this.#write(known, 'returning', 'the mesh has removed this machine');
    this.#givenUp.abort(new Error('the mesh has removed this machine'));
    this.start();
    await this.#loop;
  }

  #isUnderWay(): boolean {
    try {
      const known = this.#options.journal.read();
      // Whoever moved one away that could not be read has settled it.
      if (known === null) this.#problem = null;
      return known !== null && !isOver(known);
    } catch (error) {
      this.#problem = `what was begun of gitlab adopt cannot be read: ${sentenceOf(error)}`;
      this.#options.log.warn(this.#problem);
      return false;
    }
  }

  /** Throws where another one is under way, or was and cannot be read any more: it alone says what a container was like. */
  refuseAnother(): void {
    const isUnderWay = this.#isUnderWay();
    if (this.unreadable !== null) throw refusal.unreadable(this.unreadable);
    if (isUnderWay) throw refusal.underWay();
  }

  /** `since`: what was current before the container was looked at. Throws as `refuseAnother`. */
  begin(adoption: Omit<Adoption, 'step' | 'because' | 'at'>, since: Adoption | null): void {
    this.refuseAnother();
    // What one that began and went back meanwhile has made of the container is not how its owner had it.
    if (this.#known !== since) throw refusal.meanwhile();
    const at = this.#options.clock.wallMs();
    this.#options.journal.write({ ...adoption, step: 'parking', because: 'it was asked for', at } as Adoption);
    this.#problem = null;
    this.#loop = this.#run();
  }

  /** What was begun, and cannot be read any more. */
  get unreadable(): string | null {
    return this.current() === null ? this.#problem : null;
  }

  /** Null where none was ever begun here. */
  current(): { adoption: Adoption; phase: string | null; percent: number | null; problem: string | null } | null {
    const adoption = this.#known;
    return adoption && { adoption, phase: null, percent: null, ...this.#phase, problem: this.#problem };
  }

  /**
   * Asked by the keeper before its gate lets anybody in, with what is on the disk when it returns: from then on there is no way
   * back, and where the way back was begun nobody is let in.
   */
  mayServe(data: string): boolean {
    const known = this.#known;
    if (known?.hosted.data !== data || known.step === 'done' || known.step === 'served') return true;
    if (known.step !== 'asking' && known.step !== 'booting') return false;
    this.#write(known, 'served', 'GitLab serves');
    return true;
  }

  get #known(): Adoption | null {
    try {
      return this.#options.journal.read();
    } catch {
      return null;
    }
  }

  /** What another has written since `known` was read holds: it serves, or it goes back. */
  #write(known: Adoption, step: Adoption['step'], because: string): void {
    if (this.#known?.step !== known.step) return;
    const at = this.#options.clock.wallMs();
    this.#options.journal.write({ ...known, step, because: asSentence(because), at });
    this.#options.log.info(`GitLab of container ${known.container.name} is taken over: ${step} (${because})`);
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    while (!signal.aborted && this.#isUnderWay()) {
      let waitMs: number = timings.lookMs;
      const known = this.#options.journal.read() as Adoption;
      try {
        await this.#turn(known);
        this.#problem = null;
      } catch (error) {
        if (signal.aborted) return;
        this.#failed(known, error);
        if (this.#known?.step === known.step) waitMs = timings.retryMs;
      }
      await this.#options.pause(waitMs, signal);
    }
    this.#phase = null;
  }

  /** An engine that is away comes back; all else is no way to GitLab. What is undone is tried until it is. */
  #failed(known: Adoption, error: unknown): void {
    const because = withFix(error);
    const isAway = error instanceof AutogitError && error.code === 'no-docker';
    const isWayThere = known.step === 'parking' || known.step === 'copying';
    if (error instanceof Impossible || (isWayThere && !isAway)) return this.#write(known, 'returning', because);
    if (because !== this.#problem) this.#options.log.warn(`taking GitLab over does not go on: ${because}`);
    this.#problem = because;
  }

  async #turn(known: Adoption): Promise<void> {
    switch (known.step) {
      case 'parking':
        return this.#park(known);
      case 'copying':
        return this.#copy(known);
      case 'asking':
        return this.#ask(known);
      case 'booting':
        return this.#boots(known);
      case 'served':
        return this.#settle(known);
      case 'returning':
        return this.#goBack(known);
    }
  }

  #say = (phase: string, percent: number | null): void => {
    this.#phase = { phase, percent };
  };

  async #park(known: Adoption): Promise<void> {
    const { old } = this.#options;
    const { id, parked } = known.container;
    this.#say('stops GitLab where it is', null);
    await this.#stillThere(known);
    await this.#requireAlone(known);
    // Before it stops: an engine that is restarted between the two would start it again.
    await old.setRestart(id, { Name: 'no' });
    await old.stop(id);
    if ((await this.#stillThere(known)).name !== parked && !(await old.rename(id, parked)))
      throw new Impossible(`another container is called ${parked} by now`);
    this.#write(known, 'copying', 'the old container is stopped');
  }

  async #stillThere({
    container: { id, name },
  }: Adoption): Promise<{ name: string; isRunning: boolean; startedAt: string }> {
    const found = await this.#options.old.look(id);
    if (found === null) throw new Impossible(`container ${name} was removed meanwhile`);
    return found;
  }

  /** Two on the same data damage them, and a copy that is made meanwhile is of no one instant. */
  async #requireAlone(known: Adoption): Promise<void> {
    const other = await this.#options.old.otherOn(known);
    if (other !== null) throw new Impossible(`container ${other} was started on its folders by somebody`);
  }

  /** What somebody works with in the old one meanwhile would be in no copy. */
  async #requireStill(known: Adoption): Promise<void> {
    const found = await this.#options.old.look(known.container.id);
    if (found?.isRunning) throw new Impossible(`container ${found.name} was started again by somebody`);
    await this.#requireAlone(known);
  }

  /** From the beginning, also where an agent of before had copied half. */
  async #copy(known: Adoption): Promise<void> {
    const { place, ledger } = this.#options;
    const before = await this.#stillThere(known);
    const { name } = before;
    if (before.isRunning)
      throw new Impossible(
        `container ${name} was started again by somebody: what is copied would be of no one instant`,
      );
    await this.#requireAlone(known);
    const now = ledger();
    await place.make(known, now === null ? 1 : epochAfter(now), this.#say, this.#givenUp.signal);
    const after = await this.#stillThere(known);
    if (after.isRunning || after.startedAt !== before.startedAt)
      throw new Impossible(`container ${name} was started by somebody while its data were copied`);
    await this.#requireAlone(known);
    this.#write(known, 'asking', 'its data are copied');
  }

  async #ask(known: Adoption): Promise<void> {
    const { self, change, ledger } = this.#options;
    this.#say('asks the mesh for it', null);
    const epoch = ledger()?.gitlab.epoch;
    if (this.#isHosted(known)) return this.#write({ ...known, epoch }, 'booting', 'the mesh hosts it');
    const { state, because } = await change({
      kind: 'deploy-gitlab',
      host: self,
      hosted: known.hosted,
      because: `taken over from container ${known.container.name} on ${nodeName(ledger() as Ledger, self)}`,
    });
    // Asked again where no answer came: the same deployment is none twice.
    if (state === 'refused') throw new Impossible(`the mesh does not take it: ${because}`);
    // Done, and heard of at the next look: until then what this machine knows of the mesh says nothing.
    if (state !== 'done') throw new Error(because);
  }

  #isHosted({ hosted: { data } }: Adoption): boolean {
    if (this.#givenUp.signal.aborted) return false;
    const known = hostingOf(this.#options.ledger());
    return known?.data === data && known.host === this.#options.self;
  }

  async #boots(known: Adoption): Promise<void> {
    const now = this.#options.clock.bootMs();
    this.#bootingSince ??= now;
    const hosting = hostingOf(this.#options.ledger());
    const isMine = this.#isHosted(known);
    if (isMine && hosting?.ending) throw new Impossible('it was uninstalled before it served');
    if (!isMine) {
      requireNews(known, this.#options.ledger());
      throw new Impossible('the mesh does not host it any more');
    }
    await this.#requireStill(known);
    const life = this.#options.life(known.hosted.data);
    if (life === null) return;
    this.#say(life.because, null);
    const isLate = life.faults > 0 && now - this.#bootingSince > gitlabTimings.hardBootMs;
    if (life.faults >= timings.faultsMost || isLate)
      throw new Impossible(`it does not come up as the mesh's GitLab: ${life.fault ?? life.because}`);
  }

  /** A GitLab of the mesh is backed up as such; one of another container goes on as it is. */
  async #settle(known: Adoption): Promise<void> {
    const { ledger, self, change } = this.#options;
    const data = known.folders.find(({ inside }) => inside === '/var/opt/gitlab')?.outside;
    const guarded = ledger()?.gitlab.protected;
    if (guarded?.node === self && guarded.folder === data) {
      const because = "the mesh hosts that GitLab now, and its backups are the mesh's";
      const { state, because: why } = await change({ kind: 'protect-gitlab', protected: null, because });
      if (state !== 'done') throw new Error(why);
    }
    this.#write(known, 'done', keptWords(known));
  }

  async #goBack(known: Adoption): Promise<void> {
    this.#say('brings the old container back', null);
    const is = { isHosted: this.#isHosted(known), isGivenUp: this.#givenUp.signal.aborted };
    const words = await goBack(known, { ...this.#options, ...is });
    if (words !== null) this.#write(known, 'returned', [known.because, ...words].join('; '));
  }
}

/** Where the old one is, and what lets it go. */
function keptWords({ container: { parked }, folders }: Adoption): string {
  const where = folders.map(({ outside }) => outside).join(', ');
  return `the old container is kept as ${parked}, stopped, and its folders as they were: ${where}`;
}
