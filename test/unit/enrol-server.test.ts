import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { commitmentTo, newNonce } from '../../node/enrol/enrol-proofs.ts';
import { EnrolServer } from '../../node/enrol/enrol-server.ts';
import type { EnrolChannel } from '../../node/network/enrol-door.ts';
import type { Change } from '../../protocol/changes.ts';
import type { EnrolMessage } from '../../protocol/enrol-messages.ts';
import type { Ledger, OpenApproval } from '../../protocol/ledger.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const waiting = (name: string, more: Partial<OpenApproval> = {}): OpenApproval => ({
  name,
  address: '192.168.1.7',
  words: `words-${name}`,
  since: Date.now(),
  via: 'K',
  store: `store-${name}`,
  addresses: [],
  witness: false,
  ignored: false,
  ...more,
});

function serverOf(wallMs = (): number => Date.now()) {
  const changes: Change[] = [];
  let answer: ((channel: EnrolChannel) => void) | null = null;
  const server = new EnrolServer({
    door: {
      self: 'K',
      onEnrol: (told: typeof answer) => {
        answer = told;
      },
      isOnOwnLan: () => true,
    },
    change: async (change: Change) => {
      changes.push(change);
      return { state: 'done', because: 'committed' };
    },
    meshKey: () => '00',
    unseal: (sealed: string) => sealed,
    wallMs,
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  } as unknown as ConstructorParameters<typeof EnrolServer>[0]);
  return { server, changes, meet: (channel: EnrolChannel) => answer?.(channel) };
}

/** The newcomer's end of a conversation, which says knock and reveal and goes once it was answered. */
class Stranger {
  readonly said: EnrolMessage[] = [];
  /** How often somebody looked whether this conversation goes on. */
  looks = 0;
  #because: string | null = null;
  #told: ((because: string) => void)[] = [];
  readonly #next: EnrolMessage[];
  readonly remote: string;
  readonly address = '192.168.1.9';

  constructor(remote: string, invite: { id: string; proof: string } | null) {
    this.remote = remote;
    const nonce = newNonce();
    this.#next = [
      {
        ...{ kind: 'knock', v: 1, commitment: commitmentTo(nonce), name: 'desktop-9', store: 'store-9' },
        ...{ addresses: [], witness: false },
      },
      { kind: 'reveal', nonce, invite },
    ] as unknown as EnrolMessage[];
  }

  get ended(): string | null {
    this.looks++;
    return this.#because;
  }

  send(message: EnrolMessage): void {
    this.said.push(message);
  }

  async next(): Promise<EnrolMessage | null> {
    return this.#next.shift() ?? null;
  }

  onEnd(told: (because: string) => void): void {
    if (this.#because === null) this.#told.push(told);
    else told(this.#because);
  }

  close(because: string): void {
    if (this.#because !== null) return;
    this.#because = because;
    for (const told of this.#told.splice(0)) told(because);
  }
}

const many = (how: (index: number) => OpenApproval): Ledger['approvals'] =>
  Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`D${index}`, how(index)]));

it.each([
  ['an invite that is not known', { id: 'ABCDEF', proof: '00' }, {}],
  ['a person has ignored it', null, { approvals: { D: waiting('desktop-9', { ignored: true }) } }],
  ['too many wait', null, { approvals: many((index) => waiting(`d${index}`, { via: 'X' })) }],
])('keeps nothing of a stranger that was refused: %s', async (_, invite, over) => {
  const { server, meet } = serverOf();
  const ledger = { ...foundedMesh({ store: 'store-K', wallMs: Date.now() }), ...over } as Ledger;
  server.onLedger(ledger);
  const stranger = new Stranger('D', invite);
  meet(stranger);
  await vi.advanceTimersByTimeAsync(0);
  expect(stranger.said.at(-1)?.kind).toBe('refused');
  const { looks } = stranger;
  server.onLedger(ledger);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(stranger.looks).toBe(looks);
  server.close();
});

it('leaves an approval that another machine holds open alone, whatever its own clock says, and closes one of a machine that is gone', async () => {
  const { server, changes } = serverOf(() => Date.now() + 7_200_000);
  const approvals = { D: waiting('desktop-9', { via: 'X' }) };
  server.onLedger({ ...foundedMesh({ store: 'store-K', wallMs: Date.now() }), approvals });
  await vi.advanceTimersByTimeAsync(15 * 60_000);
  expect(changes).toEqual([]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(changes[0]).toEqual({ kind: 'close-approval', node: 'D' });
  server.close();
});
