import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { VaultSeen } from '../../../protocol/report.ts';
import type { KeeperOptions } from '../gitlab-keeper-options.ts';
import type { HostingMemory, Replacing } from '../hosting-memory.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { treeOf } from '../place-tree.ts';
import type { FoundService } from '../service-host.ts';
import { systemTools } from '../system-tools.ts';
import { keepData, swapData } from './data-swap.ts';
import { replacedFolder } from './vault-tree.ts';

type Wish = Pick<Replacing, 'backup' | 'source' | 'about' | 'because'>;

/** With the data of before so many starts in a row failed: they are not what GitLab can begin with. */
const faultsMost = 2;

interface Hands {
  options: KeeperOptions;
  memory: HostingMemory;
  endGently(id: string): Promise<void>;
}

/**
 * Other data in the place of those that GitLab has: the gate is closed for the epoch, GitLab ends, the data are swapped, and the
 * next epoch begins with them. If GitLab does not come up, what was there comes back, as one more epoch. What was begun is on
 * the disk before the gate is closed, and is done to its end by whichever agent comes next.
 */
export class DataReplacing {
  readonly #hands: Hands;
  #asked: Wish | null = null;
  outcome: VaultSeen['restored'] = null;

  constructor(hands: Hands) {
    this.#hands = hands;
  }

  ask(wish: Wish): void {
    this.#asked = wish;
    this.outcome = null;
  }

  /** In the keeper's loop: true when this turn was its own. */
  async turn(kept: KeptGitlab, own: FoundService | null): Promise<boolean> {
    const { memory } = this.#hands;
    const { data, epoch } = kept.hosting;
    const known = memory.read(data).replacing ?? null;
    if (this.#asked !== null && known?.state !== 'swapping') {
      this.#write(kept, { ...this.#asked, epoch, state: 'swapping', how: 'replace', isBack: false });
      this.#asked = null;
      return this.turn(kept, own);
    }
    if (known === null) return false;
    if (known.state === 'swapping' && known.epoch === epoch) return this.#swap(kept, known, own);
    // The ledger had taken it when an agent ended.
    if (known.state === 'swapping' && known.epoch + 1 === epoch) this.#write(kept, { ...known, state: 'trying' });
    else if (known.epoch + 1 !== epoch) this.#write(kept, null);
    else return this.#watch(kept, known);
    return false;
  }

  #write(kept: KeptGitlab, replacing: Replacing | null): void {
    this.#hands.memory.write(kept.hosting.data, { replacing });
  }

  async #swap(kept: KeptGitlab, known: Replacing, own: FoundService | null): Promise<true> {
    const { options, endGently } = this.#hands;
    const { data, epoch } = kept.hosting;
    kept.given.abort();
    kept.report({ phase: 'its data are replaced', percent: null });
    await kept.lease.close(known.because);
    options.onGateClosed(epoch);
    if (own !== null) await endGently(own.id);
    await kept.endCopies();
    const place = await kept.placeAsItIs();
    const owner = { mesh: options.ledger()?.mesh.id ?? '', data, epoch };
    const { source, about } = known;
    if (known.how === 'keep') await keepData({ place, owner, source }, systemTools);
    else
      try {
        await swapData({ place, owner, source, about }, systemTools);
      } catch (error) {
        const because = `the data could not be replaced, and GitLab goes on with those that it had: ${sentenceOf(error)}`;
        this.#write(kept, { ...known, how: 'keep', because: because.slice(0, 900) });
        throw error;
      }
    const { state, because } = await options.change({ kind: 'gitlab-restored', data, epoch, because: known.because });
    if (state !== 'done') throw new AutogitError('no-leader', `the mesh does not take GitLab's new epoch: ${because}`);
    options.log.info(`GitLab's data are replaced, epoch ${epoch + 1} begins with them: ${known.because}`);
    if (known.how === 'keep') this.outcome = { backup: known.backup, isDone: false, because: known.because };
    this.#write(kept, { ...known, state: 'trying' });
    return true;
  }

  async #watch(kept: KeptGitlab, known: Replacing): Promise<boolean> {
    const { options } = this.#hands;
    const { life, hosting } = kept;
    const { backup, because } = known;
    const isAsItWas = known.isBack || known.how === 'keep';
    if (life.hasWorked && options.ledger()?.gitlab.url != null) {
      this.outcome = { backup, isDone: !isAsItWas, because };
      options.log[isAsItWas ? 'warn' : 'info'](`GitLab serves again: ${because}`);
      this.#write(kept, null);
      return false;
    }
    if (isAsItWas || life.faults < faultsMost) return false;
    const cause = life.fault ?? life.because;
    options.log.warn(`GitLab does not come up with ${backup}, so it gets back what it had: ${cause}`);
    const source = replacedFolder(treeOf(hosting.place), known.epoch);
    const why = `GitLab did not come up with ${backup} (${cause}), and has what it had before`.slice(0, 900);
    this.#write(kept, {
      ...known,
      ...{ source, epoch: hosting.epoch, state: 'swapping', how: 'replace', isBack: true, because: why },
    });
    return true;
  }
}
