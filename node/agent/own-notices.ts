import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { Clock } from '../clock.ts';
import type { AgentApi } from '../local-api/agent-api.ts';
import type { Log } from '../log.ts';
import type { LanNetwork } from '../network/network.ts';
import type { FileTargets } from '../notices/file-targets.ts';
import type { NoticeRoom, NoticesHere } from '../notices/notice-room.ts';
import type { FileTarget } from '../settings/notify-file.ts';
import type { Member } from './member.ts';
import { leadsSurely } from './member-parts.ts';
import type { OwnPage } from './own-page.ts';

interface FilesHere {
  self: NodeId;
  /** Whom this machine's autogit.yml names. */
  files: readonly FileTarget[];
  sealForVoters(text: string): string;
  mark(text: string): string;
}

/** Most meshes tell nobody anything, and have nothing of its code in memory. It comes with the first that is told. */
export class OwnNotices {
  readonly #here: NoticesHere;
  #room: NoticeRoom | null = null;
  #files: FileTargets | null = null;
  #loadingFiles: Promise<void> | null = null;
  #loading: Promise<void> | null = null;
  #hasEnded = false;

  constructor(here: NoticesHere & FilesHere) {
    this.#here = here;
    const ledger = here.ledger();
    this.onLedger(ledger);
    const { files, self } = here;
    const wasHere = Object.values(ledger?.notices?.targets ?? {}).some(({ file }) => file === self);
    if (files.length > 0 || wasHere)
      this.#loadingFiles = this.#loadFiles(here).catch((error: Error) => here.log.warn(`notices: ${error.message}`));
  }

  async #loadFiles(here: NoticesHere & FilesHere): Promise<void> {
    const { FileTargets } = await import('../notices/file-targets.ts');
    if (this.#hasEnded) return;
    this.#files = new FileTargets(here);
    this.#files.start();
  }

  onLedger(ledger: Ledger | null): void {
    if (ledger?.notices === undefined || this.#loading !== null || this.#hasEnded) return;
    this.#loading = this.#load().catch((error: Error) => {
      this.#loading = null;
      this.#here.log.warn(`notices: ${error.message}`);
    });
  }

  async #load(): Promise<void> {
    const { NoticeRoom } = await import('../notices/notice-room.ts');
    if (this.#hasEnded) return;
    this.#room = new NoticeRoom(this.#here);
    this.#room.start();
  }

  /** Null while nobody is told anything. */
  async room(): Promise<NoticeRoom | null> {
    await this.#loading;
    return this.#room;
  }

  async stop(): Promise<void> {
    this.#hasEnded = true;
    await Promise.all([this.#loading, this.#loadingFiles]);
    await Promise.all([this.#room?.stop(), this.#files?.stop()]);
  }
}

type OfAgent = Pick<AgentApi, 'change' | 'resume'> & {
  status(): Promise<StatusSnapshot>;
  page: Pick<OwnPage, 'outside' | 'add'>;
};

/** Of a member. */
export function openNotices(
  api: OfAgent & { notices: { own: Pick<OwnNotices, 'room'> | null } },
  ...of: [member: Member, clock: Clock, log: Log, files: readonly FileTarget[], network: Pick<LanNetwork, 'ask'>]
): OwnNotices {
  const notices = new OwnNotices(noticesHere(api, ...of));
  const [member] = of;
  member.buttons.link = async (act) => (await notices.room())?.ownLink(act)?.url ?? null;
  api.notices.own = notices;
  return notices;
}

/** ms that another machine gets to make a link. */
const linkMs = 3_000;

const noticesHere = (
  api: OfAgent,
  member: Member,
  clock: Clock,
  log: Log,
  files: readonly FileTarget[],
  network: Pick<LanNetwork, 'ask'>,
): NoticesHere & FilesHere => {
  const self = member.view().state.identity.node;
  const name = (): string => member.ledger()?.nodes[self]?.name ?? self;
  return {
    ledger: () => member.ledger(),
    leads: () => leadsSurely(member.loop, self, clock),
    status: () => api.status(),
    change: (change) => member.changes.ask(change),
    unseal: (sealed) => member.box.opened(sealed),
    wallMs: () => clock.wallMs(),
    log,
    page: api.page,
    ...{ self, files },
    sealForVoters: (text) => member.box.sealForVoters(text),
    mark: (text) => member.box.mark(text),
    linkElsewhere: async (act) => {
      const { node } = act;
      const found = Object.entries(member.ledger()?.nodes ?? {}).find(([, { name: its }]) => its === node)?.[0];
      if (found === undefined || found === self) return null;
      const answer = await network.ask(found, { kind: 'notice-link', act }, linkMs);
      return answer.kind === 'notice-link' ? answer.url : null;
    },
    // Only its own machine takes that word of its owner's.
    can: (act) => act.act === 'approve' || act.node === name(),
    perform: async (act) => {
      if (act.act === 'resume-gpu') return api.resume('gpu');
      const { node, words } = act;
      const because = `by a button of a notice on ${name()}`;
      const outcome = await api.change({ kind: 'approve', node, words, because });
      if (outcome.state !== 'done') throw new AutogitError('unsupported', outcome.because);
      return outcome.because;
    },
  };
};
