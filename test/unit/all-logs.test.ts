import { expect, it } from 'vitest';
import { allLogs, linesAfter } from '../../node/agent/all-logs.ts';
import { logLine } from '../../node/cli/log-lines.ts';

const line = (time: number, msg: string): string => JSON.stringify({ level: 30, time, msg });

it('all machines in one stream: by time, each line once with its machine, and who cannot be asked is said once', async () => {
  const files: Record<string, string[]> = {
    kang: [line(1, 'a'), line(4, 'd')],
    desktop: [line(2, 'b'), 'no JSON', line(3, 'c')],
  };
  const away = new Set<string>(['laptop']);
  const end = new AbortController();
  let looks = 0;
  const sources = {
    machines: () => ['kang', 'desktop', 'laptop'].map((node) => ({ node, name: `${node}-1` })),
    tail: async (node: string) => {
      if (away.has(node)) throw new Error(`${node} is not connected`);
      return `${(files[node] ?? []).join('\n')}\n`;
    },
    wallMs: () => 100,
  };
  const told: { machine: string; msg: string }[] = [];
  for await (const text of allLogs(sources, true, end.signal)) {
    told.push(
      ...text
        .trim()
        .split('\n')
        .map((one) => JSON.parse(one) as { machine: string; msg: string }),
    );
    looks += 1;
    if (looks === 1) files.kang?.push(line(5, 'e'));
    if (looks === 2) {
      away.delete('laptop');
      files.laptop = [line(6, 'f')];
    }
    if (looks === 3) end.abort();
  }
  expect(told.map(({ machine, msg }) => `${machine} ${msg}`)).toEqual([
    ...['kang-1 a', 'desktop-1 b', 'desktop-1 no JSON', 'desktop-1 c', 'kang-1 d'],
    'laptop-1 the log of laptop-1 cannot be read now: laptop-1 is not connected',
    ...['kang-1 e', 'laptop-1 f'],
  ]);
});

it('without follow it ends; a log that was begun anew is told from its beginning', async () => {
  const sources = { machines: () => [{ node: 'k', name: 'kang' }], tail: async () => line(1, 'a'), wallMs: () => 0 };
  const all: string[] = [];
  for await (const text of allLogs(sources, false, new AbortController().signal)) all.push(text);
  expect(all).toEqual([`{"machine":"kang","level":30,"time":1,"msg":"a"}\n`]);
  expect(linesAfter('gone', ['a', 'b'])).toEqual(['a', 'b']);
  expect(linesAfter('a', ['a', 'x', 'a', 'b'])).toEqual(['b']);
  expect(linesAfter(null, ['a'])).toEqual(['a']);
});

it('for people a line has its machine', () => {
  expect(logLine(all('kang', 'job 12 runs here'))).toMatch(/^\d\d:\d\d:\d\d kang {7}job 12 runs here$/);
  // On a terminal no word is broken, and what goes on stands below what it belongs to.
  expect(logLine(all('kang', 'job 12 runs here, as it has the most room of all'), 50).split('\n')).toEqual([
    expect.stringMatching(/^\d\d:\d\d:\d\d kang {7}job 12 runs here, as it has$/),
    `${' '.repeat(20)}the most room of all`,
  ]);
});
const all = (machine: string, msg: string): string => JSON.stringify({ machine, level: 30, time: Date.now(), msg });
