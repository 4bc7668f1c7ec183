import { refuse } from './refusal.ts';

/** Fixed windows of one minute, as GitLab counts them. Old windows are forgotten when a new minute begins. */
export class RateLimit {
  private minute = -1;
  private readonly counts = new Map<string, number>();
  private readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }

  /** Counts one call, or refuses it with 429 and Retry-After. */
  count(key: string, perMinute: number): void {
    const minute = Math.floor(this.now() / 60_000);
    if (minute !== this.minute) {
      this.counts.clear();
      this.minute = minute;
    }
    const calls = (this.counts.get(key) ?? 0) + 1;
    this.counts.set(key, calls);
    if (calls <= perMinute) return;
    const seconds = Math.max(1, Math.ceil(60 - (this.now() % 60_000) / 1000));
    throw refuse(429, undefined, {
      'Retry-After': String(seconds),
      'RateLimit-Limit': String(perMinute),
      'RateLimit-Remaining': '0',
      'RateLimit-Reset': String((minute + 1) * 60),
      'RateLimit-ResetTime': new Date((minute + 1) * 60_000).toUTCString(),
    });
  }
}
