import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkCopies } from '../../node/agent/copies-check.ts';
import { commands } from '../../node/cli/command-table.ts';
import { copiesView } from '../../node/cli/copies-view.ts';
import { gitlabView } from '../../node/cli/gitlab-commands.ts';
import { fitScreen } from '../../node/cli/live-screen.ts';
import { statusView } from '../../node/cli/status-view.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';

const meter =
  'if kang died now: no push lost, 3 s of all else; copies on desktop-1 (in sync, 2 s) and desktop-2 (catching up 40 %, 12 min); desktop-1 goes on by itself after 45 s';
const copy = {
  node: 'desktop-1',
  round: '3.812',
  ageMs: 2_000,
  inSync: true,
  state: 'in-sync',
  percent: null,
} as const;

const snapshot: StatusSnapshot = {
  version: 1,
  at: '2026-11-29T00:00:00.000Z',
  seenFrom: 'kang',
  ageMs: 0,
  mesh: { id: 'm1', name: 'home' },
  leader: null,
  quorum: { voters: ['kang'], tieBreaker: null, canLose: 0, sentence: '' },
  nodes: [],
  waiting: [],
  gitlab: {
    mode: 'hosted',
    state: 'healthy',
    url: 'http://192.168.1.10:8080',
    host: 'kang',
    epoch: 3,
    version: '19.4.1',
    lastBackup: null,
    standbys: [
      { ...copy, because: 'it has every round', chosen: 'it has room for 180 GiB' },
      {
        ...{ ...copy, node: 'desktop-2', inSync: false, state: 'catching-up', percent: 40, ageMs: 720_000 },
        because: 'it gets a whole copy, as no round that both have is left',
        chosen: 'it has room for 410 GiB',
      },
    ],
    loss: { pushes: false, seconds: 3 },
    forecast: { sentence: meter, to: null, rtoSeconds: null, rpoSeconds: 3 },
    flag: null,
  },
  queue: { waiting: 0, running: 0, doneToday: 0, failedToday: 0 },
  attention: [
    {
      code: 'copy-problem',
      severity: 'warn',
      sentence: 'desktop-2  cannot keep its copy: its disk is full',
      fix: null,
    },
  ],
};

const words = (text: string): string => text.replace(/\s+/g, ' ');

describe.each([80, 60])('copies of GitLab on a terminal of %i columns', (columns) => {
  it('status has the whole meter, and a screen that is redrawn cuts nothing of it', () => {
    const text = statusView(snapshot, { isTerminal: true, columns, wide: false });
    expect(words(fitScreen(text, columns, 50))).toContain(meter);
    expect(text).toContain('\n            if kang died now: ');
  });

  it('gitlab has meter and copies whole, each line within it, set in below its name', () => {
    const text = gitlabView(snapshot, true, columns);
    expect(words(text)).toContain(meter);
    expect(words(text)).toContain(
      'copy desktop-2: catching up 40 %, 12 min old; it gets a whole copy, as no round that both have is left',
    );
    const lines = text.split('\n');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(lines.filter((line) => line.startsWith(' '.repeat(10))).length).toBeGreaterThan(1);
  });

  it('gitlab says what a machine says of its copy', () => {
    expect(gitlabView(snapshot, true, columns)).toContain('# desktop-2  cannot keep its copy: its disk is full');
  });
});

it('a pipe gets each value on one line', () => {
  expect(gitlabView(snapshot, false)).toContain(`forecast\t${meter}`);
});

it('what undoes `copies: never` is its file, as no command sets it: nothing is named that would be refused', () => {
  const ask = { kind: 'check-copies', data: '0123abcd', bytes: 1 } as const;
  const answer = checkCopies(ask, { home: '/nowhere', mesh: 'm1', isRefused: true });
  const { sentence = '', fix = '' } = (answer.kind === 'copies-checked' && answer.checks[0]) || {};
  expect(sentence).toContain('takes copies: never out of autogit.yml there');
  for (const [, typed = ''] of `${sentence} ${fix}`.matchAll(/autogit-node ([a-z ]+)/g))
    expect(commands.map(({ path }) => path)).toContain(typed.trim());
});

it('copies that it held for a mesh that is gone are named with what deletes them, and not with a command that would run GitLab on them', () => {
  const home = mkdtempSync(join(tmpdir(), 't-copies-words-'));
  const path = join(home, 'gitlab-copies/0123abcd');
  mkdirSync(path, { recursive: true });
  const claim = { mesh: 'm0-is-gone', data: '0123abcd', kind: 'image', state: 'made', fsid: null, reserveBytes: 0 };
  writeFileSync(join(path, 'autogit-place.json'), JSON.stringify(claim));
  const ask = { kind: 'check-copies', data: '0123abcd', bytes: 1 } as const;
  const answer = checkCopies(ask, { home, mesh: 'm1', isRefused: false });
  expect(answer).toMatchObject({
    checks: [
      {
        state: 'fail',
        sentence: `copies of GitLab that it held for mesh m0-is-go lie in ${path}: all of it, and maybe the last of them`,
        fix: `once nobody needs them, there: sudo sh -c "chattr -i ${path}/mounted; rm -r ${path}"`,
      },
    ],
  });
  rmSync(home, { recursive: true });
});

it.each([80, 60])(
  '`gitlab copies` cuts no reason on a terminal of %i columns, and a wide one has it in its row',
  (columns) => {
    const because =
      'it gets a whole copy, as no round that both have is left, and its disk is slower than what is written';
    const rows = [
      ['desktop-1', 'in sync', '1.40', '2 s', 'every answered push is on its disk'],
      ['desktop-2', 'catching up 40 %', '-', '-', because],
    ];
    const text = copiesView(rows, { isTerminal: true, columns });
    expect(words(text)).toContain(`desktop-2: ${because}`);
    expect(text).not.toContain('…');
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(copiesView(rows, { isTerminal: true, columns: 200 }).split('\n')).toHaveLength(3);
  },
);
