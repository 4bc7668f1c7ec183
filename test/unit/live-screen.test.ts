import { describe, expect, it } from 'vitest';
import { withNews } from '../../node/agent/news.ts';
import type { Output } from '../../node/cli/context.ts';
import { fitScreen, isAway, LiveScreen } from '../../node/cli/live-screen.ts';
import { LogLines, logLine } from '../../node/cli/log-lines.ts';
import { createProgress } from '../../node/progress-lines.ts';
import { AutogitError } from '../../protocol/errors.ts';

describe('the screen of a watch', () => {
  it('keeps the head and says what is missing; no line wraps', () => {
    const text = ['mesh home  3 nodes, leader kang', ...Array.from({ length: 20 }, (_, index) => `line ${index}`)].join(
      '\n',
    );
    const lines = fitScreen(text, 20, 10).split('\n');
    expect(lines).toHaveLength(9);
    expect(lines[0]).toBe('mesh home  3 nodes,…');
    expect(lines.at(-1)).toContain('… 13 more');
    expect(fitScreen('a\nb', 20, 10)).toBe('a\nb');
  });

  it('what needs attention goes on in a second line, down to what to type', () => {
    const text = 'mesh home\n# kang  paused by its owner: no new work   -> on kang: autogit-node resume';
    expect(fitScreen(text, 40, 10).split('\n')).toEqual([
      'mesh home',
      '# kang  paused by its owner: no new work',
      '#   -> on kang: autogit-node resume',
    ]);
    expect(fitScreen(`# ${'x'.repeat(60)}`, 40, 10)).toBe(`# ${'x'.repeat(37)}…`);
  });

  it('shows old news greyed, with their age and what to type; then new ones as they are', () => {
    const drawn: string[] = [];
    const out: Output = {
      isTerminal: true,
      columns: 100,
      data: (text) => void drawn.push(text),
      json: () => {},
      talk: () => {},
      restart: () => {},
    };
    let now = 0;
    const screen = new LiveScreen(out, () => now);
    screen.show('mesh home');
    now = 30_000;
    screen.away(new AutogitError('timed-out', 'the agent here (pid 269) does not answer', { hint: 'kill -CONT 269' }));
    screen.show('mesh home, again');
    expect(drawn[1]).toContain(
      'waiting for the agent: the agent here (pid 269) does not answer; what follows is 30 s old',
    );
    expect(drawn[1]).toContain('\n  -> kill -CONT 269\n');
    expect(drawn[1]).toContain('\u001b[2mmesh home\u001b[0m');
    expect(drawn[2]).toBe('mesh home, again');
  });

  it('waits for an agent that is away, not for one that refuses', () => {
    expect(isAway(new AutogitError('no-agent', 'gone'))).toBe(true);
    expect(isAway(new AutogitError('bad-message', 'another version'))).toBe(false);
  });
});

describe('agent.log on a terminal', () => {
  it('is time and sentence, also when a line comes in pieces; the rest stays as it is', () => {
    const time = new Date().setHours(23, 41, 58, 0);
    const line = JSON.stringify({ level: 30, time, event: 'run-started', msg: 'job 16 runs here: \u001b[31mroom' });
    const lines = new LogLines();
    expect(lines.add(line.slice(0, 20))).toBe('');
    expect(lines.add(`${line.slice(20)}\n{"half`)).toBe('23:41:58 job 16 runs here:  [31mroom\n');
    expect(lines.end()).toBe('{"half\n');
    expect(logLine(JSON.stringify({ level: 50, time, msg: 'x' }))).toBe('23:41:58 error: x');
    const earlier = new Date(2025, 10, 28, 23, 41, 58).getTime();
    expect(logLine(JSON.stringify({ level: 30, time: earlier, msg: 'x' }))).toBe('2025-11-28 23:41:58 x');
    expect(logLine('null')).toBe('null');
  });

  it('news of the foreground agent: what people want to see, once it has joined', () => {
    const said: string[] = [];
    const lines = createProgress({ color: false, stream: { write: (text) => void said.push(text) } });
    const kept: string[] = [];
    const nothing = (): void => {};
    const log = {
      debug: nothing,
      info: nothing,
      warn: nothing,
      error: nothing,
      close: nothing,
      event: ({ event }: { event: string }) => void kept.push(event),
    };
    const news = withNews(log, lines);
    news.log.event({ event: 'leader-elected', because: 'kang leads' });
    news.begin();
    news.log.event({ event: 'run-started', because: 'job 16 runs here: the only GPU' });
    news.log.event({ event: 'link-up', because: 'the stream is open' });
    news.log.event({ event: 'run-lost', because: 'job 16 is lost' });
    news.log.event({ event: 'run-finished', because: 'job 17: the script passed', fields: { state: 'success' } });
    news.log.event({ event: 'run-finished', because: 'job 18: exit code 3', fields: { state: 'failed' } });
    expect(kept).toEqual(['leader-elected', 'run-started', 'link-up', 'run-lost', 'run-finished', 'run-finished']);
    expect(said.map((text) => text.trim())).toEqual([
      'ok    job         job 16 runs here: the only GPU',
      'warn  job         job 16 is lost',
      'ok    job         job 17: the script passed',
      'warn  job         job 18: exit code 3',
    ]);
  });
});
