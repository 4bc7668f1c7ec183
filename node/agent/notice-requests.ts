import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { own } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { LedgerNotices } from '../../protocol/notices.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import type { NoticeApi } from '../local-api/agent-api.ts';
import type { NoticesAnswer, NoticeTargetRequest } from '../local-api/socket-protocol.ts';
import type { Member } from './member.ts';
import type { OwnNotices } from './own-notices.ts';

type Asked = Pick<Member, 'box' | 'changes' | 'ledger' | 'nextCommit' | 'view'>;

/** What the ledger takes sealed. */
const secretMost = 8192;
const knownMs = 5_000;

const none = (): AutogitError =>
  new AutogitError('bad-flag', 'nobody is told anything yet', {
    hint: 'name one first: autogit-node notify add --help',
  });

/** What people ask about whom the mesh tells that something is wrong. */
export class NoticeRequests implements NoticeApi {
  readonly #member: () => Asked;
  /** Set when it is a member. */
  own: Pick<OwnNotices, 'room'> | null = null;

  constructor(member: () => Asked) {
    this.#member = member;
  }

  #ledger(): Ledger {
    const ledger = this.#member().ledger();
    if (!ledger) throw new AutogitError('no-leader', 'this node has not got the ledger yet');
    return ledger;
  }

  /** This machine's name. */
  #name(): string {
    return nodeName(this.#ledger(), this.#member().view().state.identity.node);
  }

  noticeTargets(): NoticesAnswer {
    const { targets = {}, quiet, memory }: Partial<LedgerNotices> = this.#ledger().notices ?? {};
    const rows = Object.entries(targets).map(([name, { kind, shown, since, because }]) => ({
      ...{ name, kind, shown, since, because },
      waiting: (memory?.out ?? []).filter(({ to }) => to.includes(name)).length,
      failing: own(memory?.failing, name) ?? null,
      heard: own(memory?.heard, name) ?? null,
    }));
    return { rows, quiet: quiet ?? null };
  }

  /** Checked here once more: the command may be of another version. */
  async noticeAdd({ kind, name, isArgument, ...given }: NoticeTargetRequest): Promise<ChangeOutcome> {
    const { checkTarget } = await import('../notices/notice-target.ts');
    const { way, shown } = checkTarget(kind, given, isArgument);
    const secret = this.#member().box.sealForVoters(JSON.stringify(way));
    if (secret.length > secretMost)
      throw new AutogitError('bad-flag', 'what is needed to tell it is too long to be sealed for all voters');
    return this.#changed({
      kind: 'notice-target',
      name: name ?? this.#freeName(kind),
      target: { kind, secret, shown },
      because: `asked on ${this.#name()}`,
    });
  }

  #freeName(kind: string): string {
    const { targets = {} }: Partial<LedgerNotices> = this.#ledger().notices ?? {};
    for (let number = 1; ; number++) {
      const name = number === 1 ? kind : `${kind}-${number}`;
      if (!Object.hasOwn(targets, name)) return name;
    }
  }

  noticeRemove(name: string): Promise<ChangeOutcome> {
    return this.#changed({
      ...{ kind: 'notice-target', name, target: null },
      because: `asked on ${this.#name()}`,
    });
  }

  /** The leader answers before what it has committed is known on every machine, and `notify test` comes next. */
  async #changed(change: Change & { kind: 'notice-target' }): Promise<ChangeOutcome> {
    const outcome = await this.#member().changes.ask(change);
    const isKnown = (): boolean => {
      const secret = own(this.#ledger().notices?.targets, change.name)?.secret ?? null;
      return secret === (change.target?.secret ?? null);
    };
    const signal = AbortSignal.timeout(knownMs);
    while (outcome.state === 'done' && !isKnown() && !signal.aborted)
      await this.#member().nextCommit.wait(knownMs, signal);
    return outcome;
  }

  /** A notice of its own to that one, or to all, from this machine; nothing of it is remembered. */
  async noticeTest(name: string | null): ReturnType<NoticeApi['noticeTest']> {
    const { notices, mesh } = this.#ledger();
    const names = Object.keys(notices?.targets ?? {});
    if (notices === undefined || names.length === 0) throw none();
    if (name !== null && !names.includes(name))
      throw new AutogitError('bad-flag', `nobody who is told is called ${name}`, {
        hint: `one of ${names.join(', ')}: autogit-node notify list`,
      });
    const room = (await this.own?.room()) ?? null;
    if (room === null) throw new AutogitError('timed-out', 'this agent is not that far yet', { hint: 'once more' });
    const { testNotice } = await import('../notices/test-notice.ts');
    const notice = testNotice(mesh.name, this.#name(), this.#member().view().wallMs);
    const asked = name === null ? names : [name];
    return Promise.all(
      asked.map(async (one) => {
        const target = notices.targets[one] as LedgerNotices['targets'][string];
        const { kind, shown } = target;
        try {
          await room.delivery.send(target, notice);
          return { name: one, kind, shown, ok: true, said: 'it was told' };
        } catch (error) {
          return { name: one, kind, shown, ok: false, said: sentenceOf(error).slice(0, 300) };
        }
      }),
    );
  }
}
