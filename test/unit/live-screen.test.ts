import { describe, expect, it } from 'vitest';
import { fitScreen, isAway, LiveScreen } from '../../node/cli/live-screen.ts';
import type { Output } from '../../node/cli/output.ts';
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
