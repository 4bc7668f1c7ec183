import { describe, expect, it } from 'vitest';
import { stepLine } from '../../node/cli/drill-command.ts';
import { describeFailure } from '../../node/cli/failure.ts';
import { gitlabView, pairTokens } from '../../node/cli/gitlab-commands.ts';
import { jobsView, jobView, whyView } from '../../node/cli/jobs-view.ts';
import { sentence } from '../../node/cli/output.ts';
import { statusView } from '../../node/cli/status-view.ts';
import { attentionLine, printTable, printTold } from '../../node/cli/table.ts';
import { watchMs } from '../../node/cli/watching.ts';
import { webhookTestView } from '../../node/cli/webhook-command.ts';
import { doctorView } from '../../node/doctor/doctor-command.ts';
import { finding } from '../../node/doctor/finding.ts';
import { noticeFindings } from '../../node/doctor/mesh-checks.ts';
import { createProgress, progressLine, withFix } from '../../node/progress-lines.ts';
import { wrappedTalk } from '../../node/text-wrap.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import { house } from '../browser/sample-house.ts';

const people = { isTerminal: true, columns: 100, wide: false };
const pipe = { isTerminal: false, columns: Number.POSITIVE_INFINITY, wide: false };

const job = (more: Partial<JobRow>): JobRow => ({
  job: 4815,
  project: 'lab/vision',
  name: 'eval',
  ref: 'gpu-fix',
  tags: ['gpu', 'vram-20g'],
  state: 'waiting',
  node: null,
  attempt: 1,
  queuedAt: '2026-11-21T19:59:40.000Z',
  startedAt: null,
  finishedAt: null,
  exitCode: null,
  because: 'desktop-1 has 2 of 24 GiB free',
  ...more,
});
const now = Date.parse('2026-11-21T20:00:00.000Z');

describe('jobs and why', () => {
  it('lists jobs, and says how to learn more', () => {
    const rows = [
      job({
        job: 4813,
        name: 'train',
        state: 'running',
        node: 'desktop-1',
        startedAt: '2026-11-21T19:58:00.000Z',
        because: 'most room',
      }),
      job({}),
    ];
    expect(jobsView(rows, { ...people, now })).toBe(
      [
        'JOB   STATE    NODE       NAME   PROJECT             TIME   WHY',
        '4813  running  desktop-1  train  lab/vision@gpu-fix  2 min  most room',
        '4815  waiting  -          eval   lab/vision@gpu-fix  20 s   desktop-1 has 2 of 24 GiB free',
        '',
        '# 4815 desktop-1 has 2 of 24 GiB free   -> autogit-node why 4815',
      ].join('\n'),
    );
    expect(jobsView([], { ...people, now })).toContain('jobs --all');
    expect(jobsView([], { ...people, now, isAll: true })).not.toContain('--all');
  });

  it('names the pipelines where anybody tells of one, and where there is room', () => {
    const rows = [job({ pipeline: 1271 }), job({ job: 4816, because: 'its turn' })];
    const lines = (columns: number) => jobsView(rows, { ...people, columns, now }).split('\n');
    expect(lines(100).slice(0, 3)).toEqual([
      'JOB   STATE    NODE  NAME  PROJECT             PIPELINE  TIME  WHY',
      '4815  waiting  -     eval  lab/vision@gpu-fix  #1271     20 s  desktop-1 has 2 of 24 GiB free',
      '4816  waiting  -     eval  lab/vision@gpu-fix  -         20 s  its turn',
    ]);
    expect(lines(70)[0]).toBe('JOB   STATE    NODE  NAME  PROJECT             TIME  WHY');
    // In a pipe what was there keeps its place.
    expect(
      jobsView(rows, { ...pipe, now })
        .split('\n')
        .map((line) => line.split('\t').slice(11)),
    ).toEqual([
      ['desktop-1 has 2 of 24 GiB free', '1271'],
      ['its turn', '-'],
    ]);
  });

  it('cuts for people only', () => {
    const long = job({ because: 'w'.repeat(300) });
    const lines = jobsView([long], { ...people, now }).split('\n');
    expect(lines[1]).toHaveLength(100);
    expect(lines[1]?.endsWith('…')).toBe(true);
    expect(jobsView([long], { ...pipe, now })).toContain('w'.repeat(300));
  });

  it('a job alone, its reason set in below it where it is long', () => {
    const long = job({ because: 'w'.repeat(30).concat(' ').repeat(3).trim() });
    expect(jobView(long, [long], { ...people, columns: 60, now })).toMatch(/why {7}w{30}\n {10}w{30}\n {10}w{30}$/);
    const failed = job({ state: 'failed', exitCode: 3 });
    expect(jobView(failed, [failed], { ...people, now })).toContain('state     failed, exit code 3');
    expect(jobView(job({}), [job({})], { ...pipe, now }).split('\n')[0]).toBe('job\t4815 eval');
  });

  it('a job alone has its times by the clock on the wall for a person, and as they are in a pipe', () => {
    const { TZ } = process.env;
    process.env.TZ = 'Asia/Kolkata';
    try {
      const row = job({ startedAt: '2026-11-21T19:59:50.250Z', because: 'runs since 2026-11-21T19:59:50.250Z' });
      const text = jobView(row, [row], { ...people, now });
      expect(text).toContain('queued    2026-11-22 01:29:40\nstarted   2026-11-22 01:29:50\nfinished  -\n');
      expect(text).toContain('runs since 2026-11-22 01:29:50');
      expect(jobView(row, [row], { ...pipe, now })).toContain('started\t2026-11-21T19:59:50.250Z\n');
      const status = house();
      status.gitlab.lastBackup = { id: 'b', at: '2026-11-21T19:59:50Z', copies: ['kang'] };
      expect(gitlabView(status, true)).toContain('backup    2026-11-22 01:29:50 on kang\n');
      expect(gitlabView(status, false)).toContain('backup\t2026-11-21T19:59:50Z on kang\n');
      status.attention = [{ code: 'a', severity: 'warn', sentence: 'so since 2026-11-21T19:59:50Z', fix: null }];
      expect(statusView(status, people)).toContain('so since 2026-11-22 01:29:50');
      expect(statusView(status, pipe)).toContain('so since 2026-11-21T19:59:50Z');
    } finally {
      if (TZ === undefined) delete process.env.TZ;
      else process.env.TZ = TZ;
    }
  });

  it('why is the example of INTERFACE.md', () => {
    const machines = [
      { node: 'desktop-1', fits: false, because: 'its only GPU has 2 of 24 GiB free: run 4813 has it since 19:58' },
      { node: 'desktop-2', fits: false, because: 'has no GPU of more than 16 GiB' },
      { node: 'kang', fits: false, because: 'has no GPU' },
    ];
    const why = {
      job: 4815,
      project: 'lab/vision',
      name: 'eval',
      ref: 'gpu-fix',
      state: 'waiting',
      waitedMs: 20_000,
      needs: 'gpu, vram-20g',
      machines,
      because: '',
    };
    expect(whyView(why, people)).toBe(
      [
        '4815 eval lab/vision@gpu-fix   waits 20 s   needs: gpu, vram-20g',
        '  desktop-1   its only GPU has 2 of 24 GiB free: run 4813 has it since 19:58',
        '  desktop-2   has no GPU of more than 16 GiB',
        '  kang        has no GPU',
      ].join('\n'),
    );
    const narrow = { isTerminal: true, columns: 60 };
    expect(whyView({ ...why, because: `nobody fits, ${'and that is so '.repeat(5)}` }, narrow).split('\n')).toEqual([
      '4815 eval lab/vision@gpu-fix   waits 20 s',
      'needs: gpu, vram-20g',
      '  desktop-1   its only GPU has 2 of 24 GiB free: run 4813',
      '              has it since 19:58',
      '  desktop-2   has no GPU of more than 16 GiB',
      '  kang        has no GPU',
      '# nobody fits, and that is so and that is so and that is',
      '#   so and that is so and that is so ',
    ]);
    expect(whyView(why, pipe).split('\n')[2]).toBe('kang\tno\thas no GPU');
  });

  it('why of a job that is over says how it ended and where', () => {
    const why = {
      job: 7,
      project: 'lab/vision',
      name: 'eval',
      ref: 'main',
      state: 'failed',
      waitedMs: 0,
      needs: 'gpu',
      machines: [{ node: 'desktop-2', fits: true, because: 'had it: the only machine with room' }],
      because: 'script failed',
      ended: {
        node: 'desktop-2',
        startedAt: '2026-11-21T20:00:00.000Z',
        finishedAt: '2026-11-21T20:00:12.000Z',
        exitCode: 3,
      },
    };
    expect(whyView(why, people)).toBe(
      [
        '7 eval lab/vision@main   failed after 12 s, exit code 3   needs: gpu',
        '  desktop-2   had it: the only machine with room',
        '# script failed',
      ].join('\n'),
    );
    expect(whyView(why, pipe).split('\n')[1]).toBe('desktop-2\tfailed after 12 s, exit code 3\tscript failed');
    const canceled = { ...why, state: 'canceled', ended: { ...why.ended, startedAt: null, exitCode: null } };
    expect(whyView(canceled, people).split('\n')[0]).toBe('7 eval lab/vision@main   canceled   needs: gpu');
  });
});

describe('what is told', () => {
  it('is wrapped at the width of the terminal; a command at its end is not, and stands alone where it must', () => {
    const long =
      'backups of GitLab go to /mnt/disk/gitlab; it is the same disk as the data: if that dies both are gone';
    expect(
      wrappedTalk(long, 60)
        .split('\n')
        .every((line) => line.length <= 60),
    ).toBe(true);
    expect(wrappedTalk(long, 60).replaceAll('\n', ' ')).toBe(long);
    const command = 'autogit-node gitlab backup --show-recovery-key';
    expect(wrappedTalk(`without it nobody reads them. It is shown again by: ${command}`, 50).split('\n')).toEqual([
      'without it nobody reads them. It is shown again',
      'by:',
      command,
    ]);
    const now = 'autogit-node --home /srv/one pause --gpu --now';
    expect(
      wrappedTalk(`# job 3 (train) still uses a GPU here, and goes on to its end   -> ${now}`, 50).split('\n'),
    ).toEqual(['# job 3 (train) still uses a GPU here, and goes on', 'to its end', `#   -> ${now}`]);
    expect(wrappedTalk('GitLab goes from kang to desktop-1: kang -> desktop-1, and nothing is lost', 50)).not.toContain(
      '\n  ->',
    );
    expect(wrappedTalk(long, Number.POSITIVE_INFINITY)).toBe(long);
  });

  it('an answer that is a sentence is as wide as the terminal, and one line in a pipe', () => {
    const text = 'GitLab was restored as of 2026-11-29 13:03 UTC (round-0-1-31); what was before is kept as replaced-1';
    const told = (isTerminal: boolean): string => {
      let said = '';
      sentence({ isTerminal, columns: isTerminal ? 80 : Number.POSITIVE_INFINITY, data: (one) => (said = one) }, text);
      return said;
    };
    const wide = told(true).split('\n');
    expect([wide.join(' '), wide.every((line) => line.length <= 80)]).toEqual([text, true]);
    expect(told(false)).toBe(text);
    const step = {
      step: 'database',
      state: 'ok',
      ms: 800,
      sentence: '2 databases read whole, and amcheck; checksums of pages are on',
    } as const;
    const lines = stepLine(step, 80).split('\n');
    expect(lines[1]).toMatch(/^ {29}\S/);
    expect(lines.every((line) => line.length <= 80)).toBe(true);
  });
});

describe('small prints', () => {
  it('aligns by letters and lets no control character reach the terminal', () => {
    const rows = [
      ['größe', 'a'],
      ['x\u001b[31my\tz', 'b'],
    ];
    expect(printTable({ head: ['N', 'V'], rows }, people).split('\n')).toEqual([
      'N          V',
      'größe      a',
      'x [31my z  b',
    ]);
    const wide = { head: ['KIND', 'WHERE'], rows: [['round', 'a round on kang and desktop-1']], spare: ['KIND'] };
    expect(printTable(wide, { ...people, columns: 30 })).toMatch(/^KIND .*\nround {2}a round on kang and de…$/);
    expect(printTable({ ...wide, lastLeast: 29 }, { ...people, columns: 30 })).toBe(
      'WHERE\na round on kang and desktop-1',
    );
    expect(printTable({ head: [], rows }, pipe)).toBe('größe\ta\nx [31my z\tb');
  });

  it('a sentence in the last column is never cut: it stands below its row', () => {
    const table = { head: ['WHO', 'ON', 'WHAT'], rows: [['root', 'kang', `a ${'word '.repeat(12)}`.trim()]] };
    expect(printTold(table, people)).toBe(`WHO   ON    WHAT\nroot  kang  ${table.rows[0]?.[2]}`);
    expect(printTold(table, { ...people, columns: 40 })).toBe(
      ['WHO   ON', 'root  kang', `  a${' word'.repeat(7)}`, `  word${' word'.repeat(4)}`].join('\n'),
    );
    expect(printTold(table, pipe)).toBe(table.rows[0]?.join('\t'));
  });

  it('no line of what needs attention is longer than the terminal', () => {
    const sentence =
      'no approved machine could ever satisfy gpu: desktop-1 has no GPU, desktop-2 has no GPU and kang has no GPU';
    for (const columns of [50, 60, 70])
      expect(
        Math.max(
          ...attentionLine(sentence, null, columns)
            .split('\n')
            .map((line) => line.length),
        ),
      ).toBeLessThanOrEqual(columns);
  });

  it('puts a long fix on a line of its own', () => {
    expect(attentionLine('a', 'b')).toBe('# a   -> b');
    expect(attentionLine('a'.repeat(90), 'autogit-node status')).toBe(
      `# ${'a'.repeat(90)}\n#   -> autogit-node status`,
    );
  });

  it('breaks the words of a long fix, and never what is to be typed', () => {
    const fix = 'in GitLab, Admin area > Settings > Network > Outbound requests, let hooks come to: 192.168.1.5:7118';
    expect(attentionLine('no webhooks', fix, 60).split('\n')).toEqual([
      '# no webhooks',
      '#   -> in GitLab, Admin area > Settings > Network > Outbound',
      '#      requests, let hooks come to:',
      '#      192.168.1.5:7118',
    ]);
    const words = 'start the newer version, or move the folder away and join again';
    expect(attentionLine('no', words, 60)).toBe(`# no\n#   -> ${words.replace(' join', '\n#      join')}`);
    const told = describeFailure(new AutogitError('backup', 'no', { hint: words }), false, 60);
    expect(told).toBe(`error: no\nfix: ${words.replace(' join', '\n     join')}\n`);
    const command = `autogit-node gitlab restore ${'x'.repeat(60)}`;
    expect(attentionLine('a', command, 60)).toBe(`# a\n#   -> ${command}`);
  });

  it('webhook test tells each answer whole, however long the address of a door is', () => {
    const said = "heard: this machine leads, and looks at GitLab's queue";
    const url = `http://192.168.1.5:7118/autogit/${'m'.repeat(16)}/${'n'.repeat(52)}`;
    const rows = [
      { node: 'desktop-1', url: null, said: 'GitLab has no hook to it' },
      { node: 'kang', url, said },
    ];
    expect(webhookTestView(rows, { ...people, columns: 60 }).split('\n')).toEqual([
      'desktop-1  GitLab has no hook to it',
      'kang       http://192.168.1.5:7118, heard: this machine',
      "           leads, and looks at GitLab's queue",
    ]);
    expect(webhookTestView(rows, pipe)).toBe(`desktop-1\t-\tGitLab has no hook to it\nkang\t${url}\t${said}`);
  });

  it('progress lines are those of INTERFACE.md', () => {
    expect(progressLine('ok', 'machine', '16 cores, 64 GiB, 1 x RTX 3090 Ti (24 GiB)')).toBe(
      '  ok    machine     16 cores, 64 GiB, 1 x RTX 3090 Ti (24 GiB)',
    );
    expect(progressLine('wait', 'approval', 'compare the words\n  autogit-node approve desktop-1')).toBe(
      '  wait  approval    compare the words\n                        autogit-node approve desktop-1',
    );
  });

  it('on a narrow terminal breaks between words, and never inside a command', () => {
    let screen = '';
    const write = (text: string) => (screen += text);
    const lines = createProgress({ color: false, stream: { isTTY: true, columns: 60, write } });
    const command = 'autogit-node service install --name a-long-name';
    lines.warn('flags', withFix('a sentence that is longer than what is left of the line', `all of them: ${command}`));
    const error = new AutogitError('bad-flag', 'a sentence that is longer than sixty characters, as many of ours are', {
      hint: `read the help, which is long, and then type it: ${command} ${command}`,
    });
    screen += describeFailure(error, false, 60);
    const all = screen.trimEnd().split('\n');
    expect(all.filter((line) => line.length > 60 && !line.trimStart().startsWith('autogit-node'))).toEqual([]);
    expect(all.map((line) => line.trim()).join(' ')).toBe(
      `warn  flags       a sentence that is longer than what is left of the line -> all of them: ${command} ` +
        'error: a sentence that is longer than sixty characters, as many of ours are ' +
        `fix: read the help, which is long, and then type it: ${command} ${command}`,
    );
    expect(describeFailure(error, false)).toBe(`error: ${error.message}\nfix: ${error.hint}\n`);
  });

  it('doctor says where nobody would be told that the mesh has no leader', () => {
    for (const told of [[], ['webhook', 'heartbeat'], ['homeassistant']])
      expect(noticeFindings(told.map((kind) => ({ kind })))).toEqual([]);
    expect(noticeFindings([{ kind: 'ntfy' }])).toMatchObject([
      { what: 'notices', state: 'warn', fix: expect.stringContaining('notify add heartbeat') },
    ]);
  });

  it('doctor shows what to type', () => {
    const found = [finding('git', 'ok', '2.39'), finding('docker', 'warn', 'none', 'install it')];
    expect(doctorView(found, true)).toBe(
      '  ok    git         2.39\n  warn  docker      none\n                      -> install it',
    );
    expect(doctorView(found, false).split('\n')[1]).toBe('warn\tdocker\tnone\tinstall it');
    const known = [{ ...finding('mesh', 'warn', 'kang is gone'), runbook: 'node-gone' }];
    expect(doctorView(known, true)).toContain(
      '\n                      -> what that means: autogit-node runbook node-gone',
    );
    expect(doctorView(known, false)).toBe('warn\tmesh\tkang is gone\t-\tautogit-node runbook node-gone');
  });

  it('pairs runner tokens with their tags', () => {
    expect(pairTokens(['A', 'B'], ['gpu,vram-20g', ''])).toEqual([
      { variable: 'A', tags: ['gpu', 'vram-20g'] },
      { variable: 'B', tags: [] },
    ]);
    expect(pairTokens(['A'], [])).toEqual([{ variable: 'A', tags: [] }]);
    expect(() => pairTokens(['A', 'B'], ['x'])).toThrow(/2 runner tokens/);
  });

  it('reads how often to look', () => {
    expect([null, false, true, '5', '500ms'].map(watchMs)).toEqual([null, null, 2000, 5000, 500]);
    expect(() => watchMs('1ms')).toThrow(/at least/);
  });
});
