import type { Answer, Ask, LeftFound } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { roundText } from '../../protocol/round-name.ts';
import { versionLine } from '../hosting/data-version.ts';
import { asChecks, checkOf } from '../hosting/deploy-check.ts';
import { deployFacts } from '../hosting/deploy-facts.ts';
import { preflight } from '../hosting/deploy-preflight.ts';
import { presets } from '../hosting/presets.ts';
import { imageToRestore } from '../hosting/protect/protect-way.ts';
import { isLeftPlace, type LeftPlace, leftWords, lookAtPlace, refuseNear } from '../hosting/regain/left-place.ts';
import { takePlace } from '../hosting/regain/take-place.ts';
import { InTurn } from '../in-turn.ts';
import { reachedAt } from './hosting-answers.ts';

interface RegainSources {
  home: string;
  dockerHost: string | null;
  ledger(): Ledger | null;
  network: { addresses(): string[] };
}

export type RegainAsk = Ask & { kind: 'check-left' | 'take-left' };
export const isOfRegaining = (ask: Ask): ask is RegainAsk => ask.kind === 'check-left' || ask.kind === 'take-left';

/** GitLab's data of a mesh that is gone, on this machine: looked at, and made this mesh's. */
export class RegainRoom {
  readonly #sources: RegainSources;
  /** One at a time: an image is mounted for it. */
  readonly #acts = new InTurn();

  constructor(sources: RegainSources) {
    this.#sources = sources;
  }

  /** Throws in words. */
  answer(ask: RegainAsk): Promise<Answer> {
    return this.#acts.do(() => (ask.kind === 'check-left' ? this.#check(ask) : this.#take(ask)));
  }

  async #check({ wish }: Ask & { kind: 'check-left' }): Promise<Answer> {
    const { home, dockerHost, network } = this.#sources;
    const { hostname: address, ...ipv6 } = reachedAt(network);
    const at = { address, ...ipv6 };
    let left: LeftPlace;
    try {
      if (!isLeftPlace(wish.data)) {
        refuseNear(wish.data);
        return { kind: 'left-checked', isPlace: false, checks: [], found: null, ...at };
      }
      left = await lookAtPlace(wish.data, this.#mesh.mesh);
    } catch (error) {
      if (!(error instanceof AutogitError)) throw error;
      const checks = [checkOf('fail', 'place', error.message, error.hint)];
      return { kind: 'left-checked', isPlace: true, checks, found: null, ...at };
    }
    const image = wish.image ?? left.image ?? imageToRestore('gitlab/gitlab-ce:latest', left.version);
    const facts = await deployFacts({ ...wish, image }, { home, mesh: left.mesh, dockerHost });
    const { leastMemoryBytes } = presets[wish.preset];
    const { checks } = preflight(facts, { ...wish, image, leastMemoryBytes, leastDiskBytes: 0 });
    const lines = asChecks(checks.filter(({ what, state }) => what !== 'place' || state === 'fail'));
    const found: LeftFound = {
      ...{ path: left.path, mesh: left.mesh, data: left.data, what: left.what, epoch: left.epoch },
      ...{ at: left.at, round: left.round && roundText(left.round.name), version: left.version, image },
    };
    const place = checkOf(left.kind === 'folder' ? 'warn' : 'ok', 'place', leftWords(left));
    return { kind: 'left-checked', isPlace: true, checks: [place, versionOf(left, image), ...lines], found, ...at };
  }

  async #take({ path, mesh, data, epoch }: Ask & { kind: 'take-left' }): Promise<Answer> {
    const left = await lookAtPlace(path, this.#mesh.mesh);
    if (left.mesh !== mesh || left.data !== data || left.epoch !== epoch)
      throw new AutogitError('data-place', `${path} is not what it was when it was looked at`, {
        hint: `look again: autogit-node gitlab adopt --data ${path}`,
      });
    await takePlace(left, this.#mesh);
    return { kind: 'said', because: asSentence(`${path} is this mesh's now`) };
  }

  get #mesh(): { mesh: string; era: number } {
    const known = this.#sources.ledger();
    if (known === null) throw new AutogitError('unsupported', 'this machine has not got the ledger yet');
    return { mesh: known.mesh.id, era: known.era.counter };
  }
}

function versionOf({ version, path, image: noted }: LeftPlace, image: string): ReturnType<typeof checkOf> {
  if (version !== null)
    return versionLine({ path, version, image: noted }, image, (right) => `leave --image out, or: --image ${right}`);
  return checkOf(
    'warn',
    'version',
    `its data do not say of which GitLab version they are; ${image} shall run on them`,
    'another image: --image IMAGE',
  );
}
