import type { Answer, Ask } from '../../protocol/asks.ts';
import { fencedEpoch } from '../../protocol/fenced.ts';
import type { StandbySeen } from '../../protocol/report.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { metOn, wasBeside } from '../../scheduler/hosting/sides.ts';
import type { KeptGitlab } from '../hosting/kept-gitlab.ts';
import { exclusiveBytes, FencedData } from '../hosting/move/fenced-data.ts';
import { noteFenced } from '../hosting/replica/copies-note.ts';
import { systemTools } from '../hosting/system-tools.ts';
import type { GitDoor } from '../hosting/vault/project-push.ts';
import type { CopiesRoom } from './copies-room.ts';
import type { FencedAsk, Here, Membership } from './hosting-here.ts';

interface FencedSources extends Pick<Here, 'nodeId' | 'home' | 'clock' | 'log'>, Pick<Membership, 'ledger'> {
  copies: Pick<CopiesRoom, 'heldAt'>;
  /** The GitLab that this machine runs. */
  kept(): KeptGitlab | null;
  api(): GitDoor | null;
}

export const isOfFenced = (ask: Ask): ask is FencedAsk =>
  ask.kind === 'compare-fenced' || ask.kind === 'bring-fenced' || ask.kind === 'drop-fenced';

/** What this machine served until another one took over, and keeps: for its report, and for whoever asks of it. */
export class FencedRoom {
  readonly #data: FencedData;

  constructor({ nodeId, home, clock, log, ledger, api, copies, kept }: FencedSources) {
    this.#data = new FencedData({
      ...{ clock, log, api, tools: systemTools, exclusive: exclusiveBytes },
      here: () => {
        const hosting = hostingOf(ledger());
        if (hosting === null) return { problem: 'this mesh runs no GitLab itself' };
        const isHost = hosting.host === nodeId;
        const own = kept()?.hosting;
        const living = own?.data === hosting.data ? own.place : null;
        const place = isHost ? living : copies.heldAt(hosting.data);
        if (place === null) return { problem: 'the place of its data is not open yet' };
        return 'problem' in place ? place : { hosting, place, isHost };
      },
      wasBeside: (name) => wasBeside(ledger(), fencedEpoch(name)),
      met: () => metOn(ledger(), nodeId),
      dropped: (data, left) => {
        if (hostingOf(ledger())?.host !== nodeId) noteFenced(home, data, left);
      },
    });
  }

  seen(): Pick<StandbySeen, 'fenced' | 'unkept'> {
    return this.#data.seen();
  }

  /** What lies there is about to be closed. */
  end(): Promise<void> {
    return this.#data.end();
  }

  /** Throws in words. */
  async answer(ask: FencedAsk): Promise<string | Answer> {
    if (ask.kind === 'compare-fenced') return { kind: 'compared', ...(await this.#data.compare(ask.with, ask.from)) };
    return ask.kind === 'drop-fenced' ? this.#data.drop(ask.name) : this.#data.bring(ask.name, ask.project);
  }
}
