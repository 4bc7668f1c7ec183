import { describe, expect, it } from 'vitest';
import { TimelineEvent } from '../../protocol/history.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention, NodeRow, StatusSnapshot } from '../../protocol/status.ts';
import type { TimelineMark } from '../../scheduler/history/timeline-mark.ts';
import { attentionPatience, type Told, timelineNews } from '../../scheduler/history/timeline-news.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

/** A mesh as one machine sees it, to change between two looks. */
class Watched {
  readonly lab = new Lab({ machines: { kang: measured(), 'desktop-1': measured() } });
  ledger: Ledger = this.lab.committed;
  status: StatusSnapshot;
  wallMs = wallStart;
  settled = true;
  leaderLost: string | null = null;
  mark: TimelineMark | null = null;

  constructor() {
    this.lab.run(5_000);
    this.status = { ...snapshot(viewOf(this.lab, 'desktop-1')), attention: [], waiting: [] };
  }

  look(): Told[] {
    const { mark, events } = timelineNews(this.mark, this);
    // As it comes back from the disk.
    this.mark = JSON.parse(JSON.stringify(mark)) as TimelineMark;
    for (const event of events) expect(TimelineEvent.safeParse({ id: '0'.repeat(16), ...event }).error).toBeUndefined();
    return events;
  }

  sentences(): string[] {
    return this.look().map(({ kind, severity, sentence, because }) =>
      [kind, severity, sentence, ...(because === null ? [] : [because])].join(' | '),
    );
  }

  node(name: string, over: Partial<NodeRow>): void {
    const nodes = this.status.nodes.map((row) => (row.node === name ? { ...row, ...over } : row));
    this.status = { ...this.status, nodes };
  }

  attention(...lines: Attention[]): void {
    this.status = { ...this.status, attention: lines };
  }
}

const seen = (): Watched => {
  const watched = new Watched();
  watched.look();
  return watched;
};
const silent = (seconds: number): Attention => ({
  ...{ code: 'node-suspect', severity: 'warn', fix: 'autogit-node doctor' },
  sentence: `kang  has not answered for ${seconds} s`,
});

describe('who leads', () => {
  it('is all that the first look tells, and is told once', () => {
    const watched = new Watched();
    expect(watched.sentences()).toEqual(['election | info | kang leads in term 12']);
    expect(watched.sentences()).toEqual([]);
  });

  it('is told with why the one before leads no more; a moment without any is none', () => {
    const watched = seen();
    const { leader } = watched.status;
    watched.status = { ...watched.status, leader: null };
    expect(watched.look()).toEqual([]);
    watched.status = { ...watched.status, leader };
    expect(watched.look()).toEqual([]);
    watched.leaderLost = 'kang does not answer: its agent refused';
    watched.status = { ...watched.status, leader: { node: 'desktop-1', term: 13, since: '' } };
    expect(watched.sentences()).toEqual([
      'election | info | desktop-1 leads in term 13, elected by a majority of the voters | kang does not answer: its agent refused',
    ]);
  });

  it('in another mesh everything begins anew', () => {
    const watched = seen();
    watched.ledger = { ...watched.ledger, mesh: { id: 'other', name: 'lab' }, nodes: {} };
    expect(watched.sentences()).toEqual(['election | info | kang leads in term 12']);
  });
});

describe('machines', () => {
  it('are let in, leave, come back, are drained and removed, each with who said so', () => {
    const watched = seen();
    const { kang } = watched.ledger.nodes;
    const laptop = { ...kang!, name: 'laptop', because: 'approved by alice on kang', approvedAt: wallStart + 60_000 };
    watched.ledger = { ...watched.ledger, nodes: { ...watched.ledger.nodes, laptop } };
    expect(watched.look()).toMatchObject([
      {
        ...{ kind: 'approval', sentence: 'laptop is in the mesh', because: 'approved by alice on kang' },
        ...{ node: 'laptop', at: new Date(wallStart + 60_000).toISOString() },
      },
    ]);
    const becomes = (over: Partial<typeof laptop>): string[] => {
      const nodes = { ...watched.ledger.nodes, laptop: { ...watched.ledger.nodes.laptop!, ...over } };
      watched.ledger = { ...watched.ledger, nodes };
      return watched.sentences();
    };
    expect(becomes({ left: true })).toEqual(['member | info | laptop has left politely; it comes back by itself']);
    expect(becomes({ left: false })).toEqual(['member | info | laptop is back']);
    expect(becomes({ drained: true })).toEqual([
      'member | info | laptop is drained: it takes no new work and does not vote',
    ]);
    expect(becomes({ drained: false })).toEqual(['member | info | laptop takes work again']);
    const { laptop: _gone, ...rest } = watched.ledger.nodes;
    const act = { kind: 'forget', at: wallStart, sentence: 'laptop was removed from the mesh by root (asked on kang)' };
    watched.ledger = { ...watched.ledger, nodes: rest, acts: [act] };
    expect(watched.sentences()).toEqual(['member | warn | laptop was removed from the mesh by root (asked on kang)']);
    expect(watched.look()).toEqual([]);
  });

  it('that ask are told once, and again when they are ignored', () => {
    const watched = seen();
    const approval = {
      ...{ name: 'laptop', address: '/ip4/10.0.0.9/tcp/1', words: 'a-b-c-d', since: wallStart, via: 'kang' },
      ...{ store: 's', addresses: [], witness: false, ignored: false },
    };
    watched.ledger = { ...watched.ledger, approvals: { X: approval } };
    expect(watched.sentences()).toEqual(['approval | warn | laptop waits for approval']);
    expect(watched.sentences()).toEqual([]);
    watched.ledger = { ...watched.ledger, approvals: { X: { ...approval, ignored: true } } };
    expect(watched.sentences()).toEqual(['approval | info | laptop is ignored']);
  });

  it('pause by their owner; one that does not answer has not resumed', () => {
    const watched = seen();
    watched.node('kang', { state: 'paused', paused: 'gpu', because: 'its owner plays doom' });
    expect(watched.sentences()).toEqual(['owner | info | kang takes no new GPU work | its owner plays doom']);
    const { paused: _paused, ...away } = { ...watched.status.nodes.find(({ node }) => node === 'kang')! };
    watched.status = {
      ...watched.status,
      nodes: [{ ...away, state: 'suspect' }, ...watched.status.nodes.filter(({ node }) => node !== 'kang')],
    };
    expect(watched.look()).toEqual([]);
    watched.node('kang', { state: 'ready' });
    expect(watched.sentences()).toEqual(['owner | info | kang takes all work again']);
  });
});

describe('jobs', () => {
  it('a lost run is told with why, and then what becomes of its job', () => {
    const watched = seen();
    const run = labRun({ run: 'r1', job: 12, node: 'kang', state: 'lost', because: 'kang does not answer' });
    watched.ledger = { ...watched.ledger, runs: { r1: run } };
    expect(watched.sentences()).toEqual(['lost-run | warn | job 12 is lost | kang does not answer']);
    const fault = {
      ...{ job: 12, projectId: 7, name: 'eval', ref: 'main', class: '', node: 'kang', at: wallStart },
      ...{ fault: { kind: 'machine', begun: true }, retry: 'wanted' as const, because: 'retryLost is on' },
    };
    watched.ledger = { ...watched.ledger, faults: { r1: fault } };
    expect(watched.look()).toEqual([]);
    watched.ledger = { ...watched.ledger, faults: { r1: { ...fault, retry: 'made', because: 'it is job 13 now' } } };
    expect(watched.sentences()).toEqual(['job | info | job 12 is run again | it is job 13 now']);
    const failed = {
      ...labRun({ run: 'r2', job: 14, node: 'desktop-1', state: 'delivered' }),
      result: { state: 'failed' as const, exitCode: null, reason: null, because: 'the disk is full' },
    };
    watched.ledger = {
      ...watched.ledger,
      runs: { r2: failed },
      faults: { r2: { ...fault, job: 14, node: 'desktop-1', because: 'it is tried again' } },
    };
    expect(watched.sentences()).toEqual([
      'job | warn | job 14 failed by no doing of its own on desktop-1 | the disk is full; it is tried again',
    ]);
  });
});

describe("GitLab's moves, backups and drills", () => {
  it('are told once, by what status says of them', () => {
    const watched = seen();
    const is = (over: Partial<StatusSnapshot['gitlab']>): string[] => {
      watched.status = { ...watched.status, gitlab: { ...watched.status.gitlab, ...over } };
      return watched.sentences();
    };
    expect(is({ mode: 'hosted', state: 'deploying', host: 'kang', epoch: 1, url: 'http://home.local' })).toEqual([]);
    expect(is({ state: 'healthy' })).toEqual(['gitlab | info | GitLab at http://home.local is healthy']);
    expect(is({ lastBackup: { id: 'b1', at: new Date(wallStart).toISOString(), copies: ['/srv/b'] } })).toEqual([
      'backup | info | GitLab was backed up | backup b1, in /srv/b',
    ]);
    expect(is({ host: 'desktop-1', epoch: 2 })).toEqual(['move | warn | GitLab runs on desktop-1']);
    const ended = {
      from: 'kang',
      to: 'desktop-1',
      isDone: true,
      because: 'kang was silent',
      at: '2025-11-21T05:00:00Z',
    };
    const move = { wish: null, doing: null, ended };
    expect(is({ move })).toEqual(['move | info | GitLab moved from kang to desktop-1 | kang was silent']);
    expect(is({ move })).toEqual([]);
    const last = { at: '2025-11-21T06:00:00Z', round: '2.7', isProven: false, because: 'it does not boot', steps: [] };
    const drill = { node: 'kang', proven: null, last, doing: null, ended: null, waits: null };
    expect(is({ drills: [drill] })).toEqual([
      'backup | fail | GitLab does not work from what kang has of it | it does not boot',
    ]);
    expect(is({ drills: [drill] })).toEqual([]);
  });
});

describe('what needs attention', () => {
  it('of the queue is not over because another leads, who has not read it yet', () => {
    const watched = seen();
    const fitsNowhere: Attention = {
      ...{ code: 'tags-unsatisfiable', severity: 'warn', fix: 'autogit-node why 2' },
      sentence: 'job 2: no machine has the tag fpga',
    };
    const later = (ms: number): string[] => {
      watched.wallMs += ms;
      return watched.sentences();
    };
    watched.attention(fitsNowhere);
    later(0);
    expect(later(attentionPatience.comesMs)).toEqual(['attention | warn | job 2: no machine has the tag fpga']);
    const { leader } = watched.status;
    watched.attention();
    watched.status = { ...watched.status, leader: null };
    expect(later(120_000)).toEqual([]);
    watched.status = { ...watched.status, leader };
    expect(later(1_000)).toEqual([]);
    expect(later(attentionPatience.queueMs - 1_000)).toEqual([]);
    watched.attention(fitsNowhere);
    expect(later(1_000)).toEqual([]);
    watched.attention();
    expect(later(1_000)).toEqual([]);
    expect(later(attentionPatience.queueMs)).toEqual([
      'attention | info | over after 3 min: job 2: no machine has the tag fpga',
    ]);
  });

  it('is told when it has stayed, and when it is over, whatever its figures; a moment of it is not', () => {
    const watched = seen();
    watched.attention(silent(1));
    expect(watched.look()).toEqual([]);
    watched.attention();
    watched.wallMs += 1_000;
    expect(watched.look()).toEqual([]);
    watched.attention(silent(1));
    const began = watched.wallMs;
    watched.look();
    watched.attention(silent(4));
    watched.wallMs += attentionPatience.comesMs;
    expect(watched.look()).toMatchObject([
      {
        ...{ kind: 'member', severity: 'warn', node: 'kang', sentence: 'kang has not answered for 4 s' },
        at: new Date(began).toISOString(),
      },
    ]);
    // After a minute it is called gone: the same matter.
    watched.attention({ ...silent(70), code: 'node-gone', fix: null });
    watched.wallMs += 66_000;
    expect(watched.look()).toEqual([]);
    watched.attention();
    expect(watched.look()).toEqual([]);
    watched.wallMs += attentionPatience.goesMs;
    expect(watched.sentences()).toEqual(['member | info | over after 69 s: kang has not answered for 70 s']);
    expect(watched.look()).toEqual([]);
  });

  it('is not looked at while this agent has not heard the others yet: what was told before is not over, and not new', () => {
    const watched = seen();
    watched.attention(silent(4));
    watched.look();
    watched.wallMs += attentionPatience.comesMs;
    expect(watched.look()).toHaveLength(1);
    // Its agent is started again.
    watched.settled = false;
    watched.attention();
    watched.wallMs += 9_000;
    expect(watched.look()).toEqual([]);
    watched.settled = true;
    watched.attention(silent(16));
    watched.wallMs += 2_000;
    expect(watched.look()).toEqual([]);
    watched.wallMs += 60_000;
    expect(watched.look()).toEqual([]);
  });

  it('is told though the clock is set back meanwhile', () => {
    const watched = seen();
    watched.attention(silent(1));
    watched.look();
    watched.wallMs -= 86_400_000;
    watched.look();
    watched.wallMs += attentionPatience.comesMs;
    expect(watched.look()).toHaveLength(1);
    watched.attention();
    watched.look();
    watched.wallMs -= 86_400_000;
    watched.look();
    watched.wallMs += attentionPatience.goesMs;
    expect(watched.look()).toHaveLength(1);
  });

  it('two matters of one code are told apart by the machine, or by what fixes them', () => {
    const watched = seen();
    const tags = (job: number): Attention => ({
      ...{ code: 'tags-unsatisfiable', severity: 'warn', sentence: `job ${job}: no machine has gpu` },
      fix: `autogit-node why ${job}`,
    });
    watched.attention(silent(1), { ...silent(1), sentence: 'desktop-1  has not answered for 1 s' }, tags(1), tags(2));
    watched.look();
    watched.wallMs += attentionPatience.comesMs;
    expect(watched.look().map(({ node }) => node)).toEqual(['kang', 'desktop-1', null, null]);
  });

  it('what has an event of its own is not told twice', () => {
    const watched = seen();
    for (const code of ['act-forget', 'machine-waiting', 'node-left', 'node-paused', 'owner-playing', 'gpu-paused'])
      watched.attention({ code, severity: 'info', sentence: 'kang  so it is', fix: null });
    watched.look();
    watched.wallMs += 60_000;
    expect(watched.look()).toEqual([]);
  });
});
