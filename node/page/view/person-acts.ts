import { moveQuestion } from '../../faces/move-words.ts';
import type { MovePlan } from '../../local-api/socket-protocol.ts';
import type { PageState, Viewer } from './page-state.ts';

/** What a person asks for on the page, as the agent takes it: `POST /api/acts/NAME`. */
export interface PageAct {
  name: string;
  body: Record<string, unknown>;
  /** What the button says that does it. */
  verb: string;
  /** Asked before it is done; none: done at once. With more than one, each is answered. */
  questions: string[];
  /** Words that are compared with another screen. */
  words?: string;
  /** What is looked at before the first question and shown with it, as the command line does; `ask` is then the last question. */
  plan?: { path: string; ask(plan: MovePlan): string };
}

/** What speaks against it, so that it is not asked for. */
export const speaksAgainst = ({ lines }: Pick<MovePlan, 'lines'>): boolean =>
  lines.some(({ state }) => state === 'fail');

const ranks: Record<Viewer['role'], number> = { viewer: 0, operator: 1, owner: 2 };
const may =
  (least: Viewer['role']) =>
  ({ me }: Pick<PageState, 'me'>): boolean =>
    me !== null && ranks[me.role] >= ranks[least];
export const isOperator = may('operator');
export const isOwner = may('owner');

type Waiting = NonNullable<PageState['status']>['waiting'][number];

export const approveAct = ({ node, id, address, words }: Waiting): PageAct => ({
  name: 'approve',
  body: { node: id || node, words },
  verb: `Let ${node} in`,
  words,
  questions: [`${node} at ${address} shows these words. Does its screen say the same?`],
});

export const ignoreAct = ({ node, id }: Waiting): PageAct => ({
  name: 'ignore',
  body: { node: id || node },
  verb: 'Ignore it',
  questions: [`Ask no more about ${node}? It may knock again.`],
});

export const pauseAct = (node: string, what: 'gpu' | 'all', forMs: number | null): PageAct => ({
  name: 'pause',
  body: { what, forMs, now: false },
  verb: what === 'gpu' ? 'Keep its GPU' : 'Pause it',
  questions: [
    `${what === 'gpu' ? `No new job gets a GPU of ${node}` : `${node} takes no new job`}${forMs === null ? ' until you resume it' : ` for ${forMs / 3_600_000} h`}; what runs goes on.`,
  ],
});

/** What runs makes way too, as `pause --now` has it: the command says of each job what becomes of it, the page where that is set. */
export const pauseNowAct = (node: string, what: 'gpu' | 'all', runs: number): PageAct => ({
  name: 'pause',
  body: { what, forMs: null, now: true },
  verb: what === 'gpu' ? `Free the GPU of ${node}` : `Free ${node}`,
  questions: [
    `${runs === 1 ? 'One job runs' : `${runs} jobs run`} on ${node}. ${what === 'gpu' ? 'What uses a GPU there' : 'What runs there'} makes way at once as its owner has set it; where nothing is set it ends, and is run again elsewhere where it fits. ${what === 'gpu' ? 'No new job gets a GPU there' : 'No new job comes'} until you resume it.`,
  ],
});

export const resumeAct = (node: string, what: 'gpu' | 'all'): PageAct => ({
  name: 'resume',
  body: { what },
  verb: `Resume ${node}`,
  questions: [],
});

export const drainAct = (node: string, drained: boolean): PageAct => ({
  name: 'drain',
  body: { node, drained },
  verb: drained ? `Drain ${node}` : `Give ${node} work again`,
  questions: drained
    ? [
        `${node} gets no new work, no vote and no lead. What runs there ends in peace.`,
        `The mesh can lose fewer machines while ${node} is drained, and it stays so until somebody ends it. Drain ${node}?`,
      ]
    : [],
});

export const cancelAct = (job: number, name: string): PageAct => ({
  name: 'cancel',
  body: { job },
  verb: `Cancel job ${job}`,
  questions: [`End job ${job} (${name}), at GitLab and where it runs?`],
});

export const retryAct = (job: number): PageAct => ({
  name: 'retry',
  body: { job },
  verb: `Run job ${job} again`,
  questions: [],
});

export const backupAct: PageAct = { name: 'backup', body: {}, verb: 'Back up now', questions: [] };

export const moveAct = (from: string, to: string): PageAct => ({
  name: 'move',
  body: { to },
  verb: `Move GitLab to ${to}`,
  questions: [`GitLab goes from ${from} to ${to}, where it finds this:`],
  plan: { path: `gitlab/move-plan?to=${encodeURIComponent(to)}`, ask: moveQuestion },
});

export const moveCancelAct: PageAct = {
  name: 'move-cancel',
  body: {},
  verb: 'Do not move it',
  questions: ['End the move of GitLab, as long as that can be done?'],
};
