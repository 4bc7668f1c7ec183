import { join } from 'node:path';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { VaultSeen } from '../../../protocol/report.ts';
import { epochFollowing, isEpochAfter } from '../../../scheduler/hosting/epochs.ts';
import { isOfVersion } from '../../../scheduler/hosting/upgrade-path.ts';
import { versionInside } from '../gitlab-inside.ts';
import type { KeeperOptions } from '../gitlab-keeper-options.ts';
import { type GitlabLook, gitlabTimings } from '../gitlab-state.ts';
import type { HostingMemory, Replacing } from '../hosting-memory.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { treeOf } from '../place-tree.ts';
import type { FoundService } from '../service-host.ts';
import { keepData, leaveData, markFollowing, swapData } from './data-swap.ts';
import { versionIn } from './kept-rounds.ts';
import { dropFolder, dropPinned, dropReplaced, replacedFolder, snapshotInto } from './vault-tree.ts';

type Wish = Pick<
  Replacing,
  'backup' | 'source' | 'about' | 'aboutSource' | 'because' | 'image' | 'imageBefore' | 'upgrade'
>;

/** With the data of before so many starts in a row failed: they are not what GitLab can begin with. */
const faultsMost = 2;

interface Hands {
  options: KeeperOptions;
  memory: HostingMemory;
  endGently(id: string): Promise<void>;
}

/**
 * Other data in the place of those that GitLab has, as a restore wants it, or another image on them, as an upgrade does: the gate
 * is closed for the epoch, GitLab ends, the data are swapped, and the next epoch begins with them. If GitLab does not come up,
 * what was there comes back, as one more epoch; never once the gate was opened. What was begun is on the disk before the gate is
 * closed, and is done to its end by whichever agent comes next.
 */
export class DataReplacing {
  readonly #hands: Hands;
  #asked: Wish | null = null;
  /** Another try would come to the same. */
  #hopeless: string | null = null;
  /** By this agent, since when (boot time) that epoch is tried. */
  #tried: { epoch: number; sinceMs: number } | null = null;
  outcome: VaultSeen['restored'] = null;

  constructor(hands: Hands) {
    this.#hands = hands;
  }

  ask(wish: Wish): void {
    this.#asked = wish;
    this.outcome = null;
  }

  /** What was asked for lies where it was put, and is wanted still. */
  isUnderWay(data: string): boolean {
    return this.#asked !== null || this.#hands.memory.read(data).replacing?.state === 'swapping';
  }

  /** What is under way for these data; null where nothing is. */
  current(data: string): Wish | null {
    return this.#asked ?? this.#hands.memory.read(data).replacing ?? null;
  }

  /** What a look found, with what is known of these data: their boot may take longer, and what works is served only once it is what was wanted. */
  async judged(kept: KeptGitlab, id: string, look: GitlabLook): Promise<GitlabLook> {
    const seen = { ...look, ...this.#bootLimit(kept.hosting.data) };
    if (seen.problem !== null) return seen;
    const problem = await this.#whyNotServe(kept, id).catch((error: unknown) => {
      if (error instanceof AutogitError && error.code === 'no-docker') throw error;
      return sentenceOf(error);
    });
    return { ...seen, problem };
  }

  #bootLimit(data: string): { bootLimitMs?: number } {
    const known = this.#hands.memory.read(data).replacing;
    return known?.state === 'trying' && known.upgrade && !isAsItWas(known)
      ? { bootLimitMs: known.upgrade.bootLimitMs }
      : {};
  }

  /**
   * GitLab works with them, and the gate is about to be opened: why it is not yet, or null. From here on nothing of it is given
   * up by itself, also by an agent that comes next.
   */
  async #whyNotServe(kept: KeptGitlab, id: string): Promise<string | null> {
    const known = this.#hands.memory.read(kept.hosting.data).replacing;
    if (known?.state !== 'trying' || known.hasServed === true) return null;
    if (known.upgrade && !isAsItWas(known)) {
      const version = await this.#versionOf(kept, id);
      if (!isOfVersion(version, known.image ?? '')) {
        this.#hopeless = `it says that it is GitLab ${version}, which ${known.image} was not to be`;
        return this.#hopeless;
      }
      this.#hands.memory.write(kept.hosting.data, { version });
    }
    this.#write(kept, { ...known, hasServed: true });
    return null;
  }

  /** Where this machine may not know the mesh's token, as GitLab noted it when it was set up. */
  async #versionOf({ hosting }: KeptGitlab, id: string): Promise<string> {
    const { host, meshToken } = this.#hands.options;
    const said = await versionInside(host, id, meshToken());
    return said ?? versionIn(join(treeOf(hosting.place), 'live')) ?? 'of no version that it tells';
  }

  /** In the keeper's loop: true when this turn was its own. */
  async turn(kept: KeptGitlab, own: FoundService | null): Promise<boolean> {
    const { memory } = this.#hands;
    const { data, epoch } = kept.hosting;
    const known = memory.read(data).replacing ?? null;
    const isOver = known === null || known.state === 'trying';
    this.#giveUpOld(kept);
    if (this.#asked !== null && isOver) {
      const state = this.#asked.upgrade ? 'preparing' : 'swapping';
      this.#write(kept, { ...this.#asked, epoch, state, how: 'replace', isBack: false });
      this.#asked = null;
      return this.turn(kept, own);
    }
    if (known === null) return false;
    if (known.state !== 'trying' && known.epoch === epoch) return this.#swap(kept, known, own);
    // The ledger had taken it when an agent ended.
    if (!isEpochAfter(epoch, known.epoch, this.#hands.options.ledger())) this.#write(kept, null);
    else {
      await this.#markAnew(kept, known);
      if (known.state === 'trying') return this.#watch(kept, known);
      this.#write(kept, { ...known, state: 'trying' });
    }
    return false;
  }

  /** The mesh may have been recovered by force between the swap and its word: then it counted the epoch otherwise than this machine. */
  async #markAnew({ hosting: { data, epoch, place }, mesh }: KeptGitlab, known: Replacing): Promise<void> {
    const { tools, log, ledger } = this.#hands.options;
    const owner = { mesh, data, epoch: known.epoch };
    if (await markFollowing({ place, owner, next: epoch, ledger: ledger() }, tools))
      log.info(`the data in ${place.path} are those of epoch ${epoch}: the mesh was recovered by force meanwhile`);
  }

  /** Asked for of what is not there any more: other data, an epoch that is over, or a GitLab that is being uninstalled. */
  #giveUpOld({ hosting: { data, epoch, ending } }: KeptGitlab): void {
    const asked = this.#asked;
    if (asked === null || (asked.about.data === data && asked.about.epoch === epoch && !ending)) return;
    this.#asked = null;
    const why = ending ? 'GitLab is being uninstalled' : `GitLab is not that of epoch ${asked.about.epoch} any more`;
    const because = asSentence(`nothing was changed: ${why}`);
    this.#hands.options.log.warn(`GitLab's data are not replaced by ${asked.backup}: ${because}`);
    if (!asked.upgrade) this.outcome = { backup: asked.backup, isDone: false, because };
  }

  #write(kept: KeptGitlab, replacing: Replacing | null): void {
    this.#hopeless = null;
    this.#hands.memory.write(kept.hosting.data, { replacing });
  }

  async #swap(kept: KeptGitlab, begun: Replacing, own: FoundService | null): Promise<true> {
    const { options, endGently } = this.#hands;
    const { tools } = options;
    const { data, epoch } = kept.hosting;
    kept.given.abort();
    kept.report({ phase: begun.upgrade ? 'its container changes' : 'its data are replaced', percent: null });
    await kept.lease.close(begun.because);
    options.onGateClosed(epoch);
    if (own !== null) await endGently(own.id);
    await kept.endCopies();
    const place = await kept.placeAsItIs();
    const owner = { mesh: options.ledger()?.mesh.id ?? '', data, epoch };
    const ledger = options.ledger();
    const next = epochFollowing(epoch, ledger);
    let known = begun;
    const { source, about } = known;
    if (known.how === 'keep') await keepData({ place, owner, next, ledger, source }, tools);
    else
      try {
        if (known.state === 'preparing') {
          await snapshotInto(source, treeOf(place), true, tools);
          // From here on it is never made again: the next step takes it away from there.
          known = { ...known, state: 'swapping' };
          this.#write(kept, known);
        }
        await swapData({ place, owner, next, ledger, source, about }, tools);
      } catch (error) {
        // What there was must come back, and what lies there meanwhile is what GitLab could not begin with: tried until it can be.
        if (known.isBack) throw error;
        const because = asSentence(
          `the data could not be replaced, and GitLab goes on with those that it had: ${sentenceOf(error)}`,
        );
        this.#write(kept, { ...known, state: 'swapping', how: 'keep', because });
        throw error;
      }
    await this.#tell(kept, known);
    options.log.info(`GitLab's data are replaced, epoch ${next} begins with them: ${known.because}`);
    if (known.how === 'keep' && !known.upgrade)
      this.outcome = { backup: known.backup, isDone: false, because: known.because };
    this.#write(kept, { ...known, state: 'trying' });
    return true;
  }

  /**
   * GitLab is given up or taken down here, and its data stay: nobody but this agent knows where half swapped ones lie. No disk that
   * is away keeps it from being given up.
   */
  async leave(kept: KeptGitlab): Promise<void> {
    const { options, memory } = this.#hands;
    const { data, epoch, place: at } = kept.hosting;
    const known = memory.read(data).replacing ?? null;
    this.#asked = null;
    if (known === null || known.state === 'trying' || known.epoch !== epoch) return;
    const why = `were being replaced by ${known.backup} when GitLab was given up here`;
    try {
      await kept.endCopies();
      if (known.state === 'swapping') {
        const owner = { mesh: kept.mesh, data, epoch };
        await leaveData({ place: await kept.placeAsItIs(), owner, source: known.source }, options.tools);
        options.log.warn(`the data in ${at.path} ${why}: they are whole`);
      }
      this.#write(kept, null);
    } catch (error) {
      options.log.warn(
        `the data in ${at.path} ${why}, and may lie there in parts (live, bulk, restoring, replaced-${epoch}): ${sentenceOf(error)}`,
      );
    }
  }

  /** The ledger's next epoch. */
  async #tell({ hosting: { data, epoch } }: KeptGitlab, known: Replacing): Promise<void> {
    const { because, upgrade } = known;
    const image = isAsItWas(known) ? known.imageBefore : known.image;
    const marks = { marksAnew: true, countsSides: true };
    const told = await this.#hands.options.change(
      upgrade && image !== undefined
        ? { kind: 'gitlab-upgraded', data, epoch, image, ...marks, because }
        : { kind: 'gitlab-restored', data, epoch, ...marks, because, ...(image !== undefined && { image }) },
    );
    if (told.state !== 'done')
      throw new AutogitError('no-leader', `the mesh does not take GitLab's new epoch: ${told.because}`);
  }

  async #watch(kept: KeptGitlab, known: Replacing): Promise<boolean> {
    const { options } = this.#hands;
    const { life, hosting } = kept;
    const { backup, because, hasServed } = known;
    if (life.hasWorked && hasServed === true && options.ledger()?.gitlab.url != null) {
      if (known.upgrade) await this.#upgradeOver(kept, known);
      else await this.#restoreOver(kept, known);
      options.log[isAsItWas(known) ? 'warn' : 'info'](`GitLab serves again: ${because}`);
      this.#write(kept, null);
      return false;
    }
    // Once it served, what it was given since then is acknowledged: it is repaired, and never taken back by itself.
    if (isAsItWas(known) || hasServed === true || !this.#isInVain(kept)) return false;
    const cause = this.#hopeless ?? life.fault ?? life.because;
    options.log.warn(`GitLab does not come up with ${backup}, so it gets back what it had: ${cause}`);
    const source = replacedFolder(treeOf(hosting.place), known.epoch);
    const why = asSentence(`GitLab did not come up with ${backup} (${cause}), and has what it had before`);
    this.#write(kept, {
      ...known,
      about: known.aboutSource ?? known.about,
      ...{ source, epoch: hosting.epoch, state: 'swapping', how: 'replace', isBack: true, because: why },
    });
    return true;
  }

  /** Only now: a restore that fails leaves all that restores of before have left. */
  async #restoreOver({ hosting }: KeptGitlab, known: Replacing): Promise<void> {
    const { log, tools } = this.#hands.options;
    const isDone = !isAsItWas(known);
    this.outcome = { backup: known.backup, isDone, because: known.because };
    if (isDone)
      await dropReplaced(treeOf(hosting.place), tools).catch((error: unknown) =>
        log.warn(`what restores of before have replaced does not go: ${sentenceOf(error)}`),
      );
  }

  #isInVain({ life, hosting }: KeptGitlab): boolean {
    const nowMs = this.#hands.options.clock.bootMs();
    if (this.#tried?.epoch !== hosting.epoch) this.#tried = { epoch: hosting.epoch, sinceMs: nowMs };
    if (this.#hopeless !== null || life.faults >= faultsMost) return true;
    // A boot that came to no end in all its time would not in another one as long.
    return life.faults > 0 && nowMs - this.#tried.sinceMs >= gitlabTimings.hardBootMs;
  }

  /** The wish ends before what is known of it here does: an agent that comes next would begin it anew. */
  async #upgradeOver(kept: KeptGitlab, known: Replacing): Promise<void> {
    const { options } = this.#hands;
    const { data, epoch, place } = kept.hosting;
    const isDone = !isAsItWas(known);
    if (!isDone || known.upgrade?.isLast) {
      const told = { kind: 'gitlab-upgrade-ended', data, epoch, isDone, because: known.because } as const;
      const { state, because } = await options.change(told);
      if (state !== 'done') throw new AutogitError('no-leader', `the mesh does not take it: ${because}`);
    }
    // Of an upgrade that stands what was before stays; of one that did not, what the newer image has made of the data is nobody's.
    const tree = treeOf(place);
    const left = [replacedFolder(tree, known.epoch), ...(known.how === 'keep' ? [known.source] : [])];
    const tidy = isDone
      ? dropPinned(tree, known.epoch, options.tools)
      : Promise.all(left.map((folder) => dropFolder(folder, options.tools)));
    await tidy.catch((error: unknown) =>
      options.log.warn(`what an upgrade of before has left does not go: ${sentenceOf(error)}`),
    );
  }
}

/** GitLab has, or gets, what it had before. */
const isAsItWas = ({ isBack, how }: Replacing): boolean => isBack || how === 'keep';
