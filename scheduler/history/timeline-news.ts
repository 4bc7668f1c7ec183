import type { TimelineEvent } from '../../protocol/history.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Act, Ledger } from '../../protocol/ledger.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { rfc3339 } from '../jobs/civil-time.ts';
import { span } from '../phrases.ts';
import {
  actKey,
  attentionKey,
  type MarkedAttention,
  markOf,
  subjectOf,
  type TimelineMark,
  type TimelineView,
} from './timeline-mark.ts';

/** Before it has a number. */
export type Told = Omit<TimelineEvent, 'id'>;

/** What needs attention is told when it has been there for so long, and that it is over when it has been away for so long: ms. */
export const attentionPatience = { comesMs: 3_000, goesMs: 5_000, queueMs: 60_000 } as const;

/** What the machine that leads finds in GitLab's queue, and tells the others. One that has just begun to lead has not read it yet. */
const ofQueue = new Set(['tags-unsatisfiable']);

/**
 * What happened between two looks at the mesh, and what is to be remembered of the second one. Every machine finds the same, by
 * its ledger and status. `before` null: this is the first look, which tells who leads and nothing else.
 */
export function timelineNews(before: TimelineMark | null, view: TimelineView): { mark: TimelineMark; events: Told[] } {
  const known = before?.mesh === view.ledger.mesh.id ? before : null;
  const next = markOf(view, known);
  const { attention, events } = attentionNews(known, view);
  const mark = { ...next, attention };
  if (known === null) return { mark, events: electionNews(null, view) };
  return {
    mark,
    events: [
      ...electionNews(known, view),
      ...memberNews(known, view),
      ...actNews(known, view),
      ...pauseNews(known, mark, view),
      ...jobNews(known, view.ledger, view.wallMs),
      ...gitlabNews(known, mark, view),
      ...events,
    ],
  };
}

/** One event; what it does not say is: now, no machine, all is well. */
function told(
  kind: Told['kind'],
  sentence: string,
  { wallMs }: { wallMs: number },
  more: Partial<Omit<Told, 'kind' | 'sentence'>> = {},
): Told {
  const { because = null } = more;
  return {
    at: rfc3339(wallMs),
    severity: 'info',
    node: null,
    ...more,
    kind,
    sentence: asSentence(sentence),
    because: because === null || because === '' ? null : asSentence(because),
  };
}

function electionNews(before: TimelineMark | null, view: TimelineView): Told[] {
  const { leader, seenFrom } = view.status;
  if (leader === null || (before?.leader?.node === leader.node && before.leader.term === leader.term)) return [];
  const own = leader.node === seenFrom ? ', elected by a majority of the voters' : '';
  const sentence = `${leader.node} leads in term ${leader.term}${own}`;
  return [told('election', sentence, view, { node: leader.node, because: view.leaderLost })];
}

function memberNews(before: TimelineMark, view: TimelineView): Told[] {
  const { ledger } = view;
  const events: Told[] = [];
  for (const [node, { name, because, left, drained, approvedAt }] of Object.entries(ledger.nodes)) {
    const known = before.nodes[node];
    if (known === undefined) {
      events.push(told('approval', `${name} is in the mesh`, { wallMs: approvedAt }, { node: name, because }));
      continue;
    }
    const say = (sentence: string): void => void events.push(told('member', sentence, view, { node: name }));
    if (left && !known.left) say(`${name} has left politely; it comes back by itself`);
    if (!left && known.left) say(`${name} is back`);
    if (drained !== known.drained)
      say(drained ? `${name} is drained: it takes no new work and does not vote` : `${name} takes work again`);
  }
  for (const [node, { name }] of Object.entries(before.nodes)) {
    if (ledger.nodes[node] !== undefined || isToldByAct(before, ledger, name)) continue;
    const because = ledger.forgottenBy?.[node];
    events.push(
      told('member', `${name} was removed from the mesh`, view, {
        ...{ node: name, severity: 'warn', because: because ? `by ${because}` : null },
      }),
    );
  }
  for (const [node, { name, ignored }] of Object.entries(ledger.approvals))
    if (!ignored && before.waiting[node] === undefined)
      events.push(told('approval', `${name} waits for approval`, view, { node: name, severity: 'warn' }));
    else if (ignored && before.waiting[node] !== undefined)
      events.push(told('approval', `${name} is ignored`, view, { node: name }));
  return events;
}

const newActs = (before: TimelineMark, { acts = [] }: Ledger): Act[] => {
  const known = new Set(before.acts);
  return acts.filter((act) => !known.has(actKey(act)));
};

const isToldByAct = (before: TimelineMark, ledger: Ledger, name: string): boolean =>
  newActs(before, ledger).some(({ kind, sentence }) => kind === 'forget' && sentence.startsWith(`${name} `));

/** How a move and an upgrade ended is told by what is known of them. */
const endings: ReadonlySet<string> = new Set(['gitlab-move-ends']);

const kindOfAct = (kind: string): Told['kind'] => {
  if (kind === 'forget') return 'member';
  if (/vault|restored|protect/.test(kind)) return 'backup';
  return kind.includes('move') ? 'move' : 'gitlab';
};

const actNews = (before: TimelineMark, { ledger }: TimelineView): Told[] =>
  newActs(before, ledger)
    .filter(({ kind }) => !endings.has(kind))
    .map(({ kind, at, sentence }) =>
      told(kindOfAct(kind), sentence, { wallMs: at }, { severity: kind === 'forget' ? 'warn' : 'info' }),
    );

function pauseNews(before: TimelineMark, { nodes }: TimelineMark, view: TimelineView): Told[] {
  const rows = new Map(view.status.nodes.map((row) => [row.id, row]));
  return Object.entries(nodes).flatMap(([node, { name, paused }]) => {
    const was = before.nodes[node]?.paused ?? paused;
    if (was === paused) return [];
    if (paused === 'no') return [told('owner', `${name} takes all work again`, view, { node: name })];
    const what = paused === 'gpu' ? 'no new GPU work' : 'no new work';
    return [told('owner', `${name} takes ${what}`, view, { node: name, because: rows.get(node)?.because ?? null })];
  });
}

function jobNews(before: TimelineMark, ledger: Ledger, wallMs: number): Told[] {
  const nameOf = (node: string): string => ledger.nodes[node]?.name ?? node;
  const lost = new Set(before.lost);
  const events: Told[] = [];
  for (const { run, job, node, state, because, finishedAt } of Object.values(ledger.runs))
    if (state === 'lost' && !lost.has(run))
      events.push(
        told(
          'lost-run',
          `job ${job} is lost`,
          { wallMs: finishedAt ?? wallMs },
          {
            ...{ severity: 'warn', node: nameOf(node), because },
          },
        ),
      );
  for (const [run, { job, node, at, retry, because }] of Object.entries(ledger.faults ?? {})) {
    const was = before.faults[run];
    const failed = ledger.runs[run];
    // That it was lost is said already.
    if (was === undefined && failed?.state !== 'lost')
      events.push(
        told(
          'job',
          `job ${job} failed by no doing of its own on ${nameOf(node)}`,
          { wallMs: at },
          {
            ...{ severity: 'warn', node: nameOf(node) },
            because: [failed?.result?.because, because].filter(Boolean).join('; '),
          },
        ),
      );
    else if (was === 'wanted' && retry !== 'wanted')
      events.push(
        told(
          'job',
          retry === 'made' ? `job ${job} is run again` : `job ${job} is not run again`,
          { wallMs },
          {
            ...{ severity: retry === 'made' ? 'info' : 'warn', because },
          },
        ),
      );
  }
  return events;
}

function gitlabNews({ gitlab: was }: TimelineMark, { gitlab: is }: TimelineMark, view: TimelineView): Told[] {
  const { gitlab } = view.status;
  const events: Told[] = [];
  const wallAt = (at: string | null | undefined): Partial<Told> => (at ? { at } : {});
  if (is.state === 'healthy' && (was.state === 'deploying' || was.mode === 'none'))
    events.push(told('gitlab', `GitLab at ${gitlab.url} is healthy`, view));
  const ended = gitlab.move?.ended;
  if (ended && is.moved !== was.moved)
    events.push(
      told('move', `GitLab ${ended.isDone ? 'moved' : 'did not move'} from ${ended.from} to ${ended.to}`, view, {
        ...wallAt(ended.at),
        ...{ node: ended.to, because: ended.because, severity: ended.isDone ? 'info' : 'fail' },
      }),
    );
  else if (is.host !== null && was.host !== null && is.host !== was.host)
    events.push(
      told('move', `GitLab runs on ${is.host}`, view, {
        ...{ node: is.host, severity: 'warn', because: gitlab.move?.wish ? `it moves from ${was.host}` : null },
      }),
    );
  const upgraded = gitlab.upgrade?.ended;
  if (upgraded && is.upgraded !== was.upgraded)
    events.push(
      told('gitlab', `GitLab ${upgraded.isDone ? 'is' : 'did not become'} ${upgraded.image}`, view, {
        ...wallAt(upgraded.at),
        ...{ because: upgraded.because, severity: upgraded.isDone ? 'info' : 'fail' },
      }),
    );
  return [...events, ...backupNews(was, is, view)];
}

function backupNews(was: TimelineMark['gitlab'], is: TimelineMark['gitlab'], view: TimelineView): Told[] {
  const { vault, lastBackup, drills = [], protected: guarded } = view.status.gitlab;
  const events: Told[] = [];
  const at = lastBackup?.at ?? guarded?.lastBackup;
  if (is.backup !== null && is.backup !== was.backup && at)
    events.push(told('backup', 'GitLab was backed up', view, { at, because: backupWords(lastBackup) }));
  const { restored } = vault ?? {};
  if (restored && is.restored !== was.restored)
    events.push(
      told('backup', `GitLab ${restored.isDone ? 'was' : 'was not'} restored from ${restored.backup}`, view, {
        ...{ because: restored.because, severity: restored.isDone ? 'info' : 'fail' },
      }),
    );
  for (const { node, last } of drills)
    if (last && was.drills[node] !== last.at)
      events.push(
        told('backup', `GitLab ${last.isProven ? 'works' : 'does not work'} from what ${node} has of it`, view, {
          ...{ at: last.at, node, because: last.because, severity: last.isProven ? 'info' : 'fail' },
        }),
      );
  return events;
}

const backupWords = (backup: StatusSnapshot['gitlab']['lastBackup']): string | null =>
  backup && backup.copies.length > 0 ? `backup ${backup.id}, in ${backup.copies.join(' and ')}` : null;

const kindOfAttention = (code: string): Told['kind'] => {
  if (code.startsWith('node-')) return 'member';
  if (/backup|vault|drill|protected/.test(code)) return 'backup';
  if (code === 'gitlab-move') return 'move';
  return 'attention';
};

/** What came and stayed, and what is over. Nothing is said of a moment: an agent that starts sees the others one after the other. */
function attentionNews(
  before: TimelineMark | null,
  view: TimelineView,
): { attention: TimelineMark['attention']; events: Told[] } {
  const { wallMs, settled, status } = view;
  const attention: Record<string, MarkedAttention> = { ...before?.attention };
  const events: Told[] = [];
  if (!settled) return { attention, events };
  const there = new Set<string>();
  for (const line of status.attention) {
    const key = attentionKey(line);
    if (key === null || there.has(key)) continue;
    there.add(key);
    const { code, sentence, severity } = line;
    const named = subjectOf(sentence);
    const node = status.nodes.some((row) => row.node === named) ? named : null;
    const was = attention[key];
    const one = {
      ...(was ?? { since: wallMs, toldAt: null }),
      code,
      node,
      sentence: asSentence(sentence),
      goneAt: null,
    };
    // A clock that was set back must not keep it from being told for ever.
    if (one.since > wallMs) one.since = wallMs;
    if (one.toldAt === null && wallMs - one.since >= attentionPatience.comesMs) {
      one.toldAt = wallMs;
      events.push(told(kindOfAttention(code), plain(sentence), { wallMs: one.since }, { node, severity }));
    }
    attention[key] = one;
  }
  for (const [key, one] of Object.entries(attention)) {
    const isOfQueue = ofQueue.has(one.code);
    if (there.has(key) || (isOfQueue && status.leader === null)) continue;
    const goesMs = isOfQueue ? attentionPatience.queueMs : attentionPatience.goesMs;
    const goneAt = Math.min(one.goneAt ?? wallMs, wallMs);
    if (one.toldAt !== null && wallMs - goneAt < goesMs) {
      attention[key] = { ...one, goneAt };
      continue;
    }
    delete attention[key];
    if (one.toldAt === null) continue;
    const lasted = span(Math.max(0, goneAt - one.since));
    events.push(
      told(
        kindOfAttention(one.code),
        `over after ${lasted}: ${plain(one.sentence)}`,
        { wallMs: goneAt },
        { node: one.node },
      ),
    );
  }
  return { attention, events };
}

/** Two spaces after a name are a column of `status`. */
const plain = (sentence: string): string => sentence.replace(/^(\S{1,64}) {2}/, '$1 ');
