import { describe, expect, it } from 'vitest';
import {
  contentRange,
  newTraceSender,
  nextQuestionAt,
  nextTraceAction,
  type TraceAnswer,
  type TraceSender,
  traceAnswered,
  traceLimits,
} from '../../gitlab-bridge/trace.ts';

function generator(seed: number): (below: number) => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const answer = (more: Partial<TraceAnswer>): TraceAnswer => ({
  status: 202,
  jobStatus: 'running',
  length: null,
  intervalS: null,
  retryAfterS: null,
  ...more,
});
const now = (atMs: number, lengthBytes: number, more: { isUrgent?: boolean; keepAliveMs?: number } = {}) => ({
  atMs,
  lengthBytes,
  isUrgent: more.isUrgent ?? false,
  keepAliveMs: more.keepAliveMs ?? traceLimits.keepAliveMs,
});
const patched = (
  sender: TraceSender,
  from: number,
  to: number,
  more: Partial<TraceAnswer>,
  atMs = 0,
  lengthBytes = to,
) => traceAnswered(sender, { kind: 'patch', from, to }, answer(more), { askedMs: atMs, atMs, lengthBytes });

it('GitLab’s word is no newer than the question, however late the answer comes (SAFETY J1)', () => {
  const action = { kind: 'keep-alive' } as const;
  const { sender } = traceAnswered(newTraceSender(0), action, answer({ status: 200 }), {
    askedMs: 5000,
    atMs: 11_000,
    lengthBytes: 0,
  });
  expect(sender.heardAt).toBe(5000);
  // Nor does a slow answer put off the next question: a run that lives on GitLab's word would stand still between the two.
  expect(nextTraceAction(sender, { ...now(11_100, 0), keepAliveMs: 500 })).toEqual({ kind: 'keep-alive' });
  expect(nextTraceAction(sender, { ...now(5100, 0), keepAliveMs: 500 })).toEqual({ kind: 'wait', untilMs: 5500 });
});

it('of two questions on their way the later may be answered first: the older answer takes no word back (SAFETY J1)', () => {
  const action = { kind: 'keep-alive' } as const;
  const said = (sender: TraceSender, askedMs: number, atMs: number): TraceSender =>
    traceAnswered(sender, action, answer({ status: 200 }), { askedMs, atMs, lengthBytes: 0 }).sender;
  const sender = said(said(newTraceSender(0), 5500, 6000), 5000, 6200);
  expect([sender.heardAt, sender.triedAt]).toEqual([5500, 5500]);
  expect(nextQuestionAt(5000, 0, 500)).toBe(5500);
  expect(nextQuestionAt(5000, 1400, 500)).toBe(5700);
});

describe('trace sender', () => {
  it('sends the first bytes at once, then at the interval that GitLab asks for', () => {
    let sender = newTraceSender(0);
    expect(nextTraceAction(sender, now(0, 10))).toEqual({ kind: 'patch', from: 0, to: 10 });
    ({ sender } = patched(sender, 0, 10, { intervalS: 5 }));
    expect(nextTraceAction(sender, now(4999, 20))).toEqual({ kind: 'wait', untilMs: 5000 });
    expect(nextTraceAction(sender, now(5000, 20))).toEqual({ kind: 'patch', from: 10, to: 20 });
    expect(nextTraceAction(sender, now(100, 20, { isUrgent: true }))).toEqual({ kind: 'patch', from: 10, to: 20 });
    ({ sender } = patched(sender, 10, 20, { intervalS: 3600 }, 5000));
    expect(sender.intervalMs).toBe(traceLimits.mostIntervalMs);
  });

  it('cuts patches at 1 MiB and does not wait with that much', () => {
    const mib = 1 << 20;
    let sender = newTraceSender(0);
    expect(nextTraceAction(sender, now(0, 3 * mib))).toEqual({ kind: 'patch', from: 0, to: mib });
    ({ sender } = patched(sender, 0, mib, {}, 0, 3 * mib));
    expect(nextTraceAction(sender, now(1, 3 * mib))).toEqual({ kind: 'patch', from: mib, to: 2 * mib });
  });

  it('says that the job lives when there is nothing to send', () => {
    let sender = newTraceSender(0);
    ({ sender } = patched(sender, 0, 10, {}));
    expect(nextTraceAction(sender, now(29_999, 10))).toEqual({ kind: 'wait', untilMs: 30_000 });
    expect(nextTraceAction(sender, now(30_000, 10))).toEqual({ kind: 'keep-alive' });
    expect(nextTraceAction(sender, now(500, 10, { keepAliveMs: 500 }))).toEqual({ kind: 'keep-alive' });
  });

  it('goes on where a 416 says, and behind what only GitLab has', () => {
    const back = patched(newTraceSender(50), 50, 60, { status: 416, length: 20 });
    expect(back.sender.acked).toBe(20);
    expect(nextTraceAction(back.sender, now(0, 60))).toEqual({ kind: 'patch', from: 20, to: 60 });
    const ahead = patched(newTraceSender(0), 0, 10, { status: 416, length: 400 }, 0, 10);
    expect(ahead.sender).toMatchObject({ acked: 10, shift: 390 });
    expect(contentRange(ahead.sender, 10, 15)).toBe('400-404');
  });

  it('hears cancel, end and disowning, and backs off from what is no answer', () => {
    expect(patched(newTraceSender(0), 0, 9, { jobStatus: 'canceling' })).toMatchObject({ verdict: 'canceling' });
    expect(patched(newTraceSender(0), 0, 9, { jobStatus: 'canceled' })).toMatchObject({ verdict: 'over' });
    expect(patched(newTraceSender(0), 0, 9, { status: 403 })).toMatchObject({ verdict: 'over' });
    const waits: number[] = [];
    let sender = newTraceSender(0);
    for (let n = 0; n < 9; n++) {
      ({ sender } = patched(sender, 0, 9, { status: 'away' }, 1000));
      waits.push(sender.nextAt - 1000);
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
    expect(nextTraceAction(sender, now(1001, 9, { isUrgent: true })).kind).toBe('wait');
    // The run's right to go on hangs on GitLab: the question does not wait for the back-off.
    expect(nextTraceAction(sender, now(1500, 9, { keepAliveMs: 500 })).kind).toBe('keep-alive');
    const limited = patched(newTraceSender(0), 0, 9, { status: 429, retryAfterS: 60 }, 1000);
    expect(limited.sender.nextAt).toBe(61_000);
  });

  it('brings every byte once, whatever is lost on the way', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const pick = generator(seed);
      const trace = Array.from({ length: 400 }, (_, at) => String.fromCharCode(97 + ((at * 7 + seed) % 26))).join('');
      let gitlab = '';
      let sender = newTraceSender(0);
      let length = 0;
      for (let atMs = 0; gitlab.length < trace.length; atMs += 1000) {
        expect(atMs, `seed ${seed} does not end`).toBeLessThan(4_000_000);
        length = Math.min(trace.length, length + pick(30));
        // The agent is killed and started again, its last acknowledged offset on disk or not.
        if (pick(20) === 0) sender = newTraceSender(pick(sender.acked + 1));
        const isHealed = atMs > 1_000_000;
        const action = nextTraceAction(sender, now(atMs, length));
        if (action.kind !== 'patch') {
          if (action.kind === 'keep-alive')
            ({ sender } = traceAnswered(sender, action, answer({ status: pick(3) === 0 ? 'away' : 200 }), {
              askedMs: atMs,
              atMs,
              lengthBytes: length,
            }));
          continue;
        }
        const luck = isHealed ? 9 : pick(10);
        const start = Number(contentRange(sender, action.from, action.to).split('-')[0]);
        let said: Partial<TraceAnswer> = { status: 'away' };
        if (luck > 1) {
          const fits = start === gitlab.length;
          if (fits) gitlab += trace.slice(action.from, action.to);
          // Applied, and the answer lost.
          if (luck > 3) said = { status: fits ? 202 : 416, length: gitlab.length };
        }
        ({ sender } = traceAnswered(sender, action, answer(said), { askedMs: atMs, atMs, lengthBytes: length }));
      }
      expect(gitlab, `seed ${seed}`).toBe(trace);
    }
  });
});
