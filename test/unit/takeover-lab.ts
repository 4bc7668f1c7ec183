import { abilities, Ledger } from '../../protocol/ledger.ts';
import { PeerMessage } from '../../protocol/messages.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import type { HostingState } from '../../scheduler/hosting/hosting-state.ts';
import { emptyHosting, stepHosting } from '../../scheduler/hosting/step-hosting.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import type { PartContext, PartStep } from '../../scheduler/part.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

export const data = 'k3v9q2m4';
export const base: RoundName = { era: 0, epoch: 4, number: 1 };
export const at = (number: number, epoch = 4): RoundName => ({ era: 0, epoch, number });
export const there = (node: string) => ({
  place: { kind: 'image' as const, path: `/copies/${node}` },
  hostname: `${node}.lab`,
});

type Copies = NonNullable<NonNullable<Ledger['gitlab']['hosted']>['copies']>;

/** K hosts epoch 4; D, E and F vote; D and E hold copies, and are in sync. */
export function mesh(set: Partial<Copies['set']> = {}, over: Partial<Ledger['gitlab']> = {}): Ledger {
  const ledger = foundedMesh({ store: 'store-K', wallMs: 0 });
  const K = { ...ledger.nodes.K!, can: [...abilities] };
  const voters = Object.fromEntries(['K', 'D', 'E', 'F'].map((node) => [node, { store: `s-${node}`, weight: 2 }]));
  const copies = {
    agreed: ['D', 'E'],
    standbys: ['D', 'E'].map((node) => ({ node, because: 'asked' })),
    set: { version: 7, members: ['D', 'E'], last: null, boot: 'b', ...set },
    bases: { 4: base },
  };
  return Ledger.parse({
    ...ledger,
    configuration: { voters, next: null },
    settings: { ...ledger.settings, failover: true },
    nodes: { K, D: { ...K, name: 'desktop-1' }, E: { ...K, name: 'desktop-2' }, F: { ...K, name: 'desktop-3' } },
    gitlab: {
      ...ledger.gitlab,
      ...{ mode: 'hosted', host: 'K', epoch: 4, url: 'http://10.0.0.1:8080', token: 't', instance: 'i' },
      hosted: hostedGitlab({ data, port: 8080, hostname: '10.0.0.1', copies }),
      ...over,
    },
  });
}
export const withMembers = (ledger: Ledger, change: Partial<Ledger['gitlab']['hosted']>): Ledger => ({
  ...ledger,
  gitlab: { ...ledger.gitlab, hosted: { ...ledger.gitlab.hosted!, ...change } as never },
});

/** F leads, alone: this part, with an election, a ledger and machines as the test says. Its edits are committed at once. */
export class Leader {
  at = 1_000_000;
  state: HostingState = emptyHosting;
  readonly context: PartContext;
  readonly silent = new Map<string, number>();
  last: PartStep<HostingState> | null = null;
  contactAt = Number.NEGATIVE_INFINITY;
  isCommitting = true;

  constructor(ledger: Ledger, self = 'F') {
    this.context = {
      ...{ at: 0, wallMs: 5_000_000, self, boot: `boot-${self}`, isLeader: true, mayAct: true, term: 4 },
      ...{ isNewEra: false, leader: self, isLeaving: false, ledger, committed: ledger },
      leaderContactAt: () => this.contactAt,
      liveness: (node) => {
        const since = this.silent.get(node);
        return since === undefined ? { state: 'alive', since: this.at } : { state: 'silent', since };
      },
    };
    this.report('K', 'boot-1');
  }
  get ledger(): Ledger {
    return this.context.ledger!;
  }
  set ledger(ledger: Ledger) {
    Object.assign(this.context, { ledger, ...(this.isCommitting && { committed: ledger }) });
  }
  feed(happened: Happened, afterMs = 0): this {
    this.at += afterMs;
    this.last = stepHosting(
      this.state,
      { at: this.at, wallMs: 5_000_000, ...happened },
      { ...this.context, at: this.at },
    );
    this.state = this.last.state;
    for (const edit of this.last.edits) {
      const after = edit.apply(this.ledger);
      if (!isRefusal(after)) this.ledger = Ledger.parse(after);
    }
    return this;
  }
  tick = (afterMs = 0): this => this.feed({ kind: 'ticked' }, afterMs);
  report(from: string, boot: string): this {
    return this.feed({ kind: 'report-heard', from, report: { boot } as never });
  }
  dies(node = 'K'): this {
    this.silent.set(node, this.at);
    return this.tick();
  }
  isBack(node = 'K'): this {
    this.silent.delete(node);
    return this.tick();
  }
  /** In steps of 100 ms, until it asks for rounds; ms that took. */
  untilAsked(mostMs = 400_000): number {
    const from = this.at;
    while (this.asked().length === 0 && this.at - from < mostMs) this.tick(100);
    return this.at - from;
  }
  asked(): { to: string; nonce: string }[] {
    const sent = this.last?.effects.flatMap((one) => (one.kind === 'send' ? [one] : [])) ?? [];
    return sent.flatMap(({ to, message }) => (message.kind === 'round-ask' ? [{ to, nonce: message.nonce }] : []));
  }
  /** What was asked last is answered by that machine. */
  tells(node: string, round: RoundName | null, over: object = {}): this {
    const { nonce, epoch } = this.state.lead!.question!;
    const told = { round, takenAt: 4_990_000, there: round && there(node), because: null, ...over };
    const message = PeerMessage.parse({ kind: 'round-told', nonce, epoch, data, ...told });
    return this.feed({ kind: 'heard', from: node, message }, 5);
  }
  get host(): string | null {
    return this.ledger.gitlab.host;
  }
  events = (): string[] => this.last?.effects.flatMap((one) => (one.kind === 'note' ? [one.event] : [])) ?? [];
}
