/** Which tab of a browser has the one connection; kept where all tabs of this page read it. */
export interface TabLease {
  tab: string;
  /** Wall ms. */
  until: number;
}

export const leaseTimings = { holdMs: 4_000, tickMs: 1_000 } as const;

/** What stands there by whoever writes last; anything else is nothing. */
export function readLease(text: string | null): TabLease | null {
  try {
    const { tab, until } = JSON.parse(text ?? 'null') as Partial<TabLease>;
    return typeof tab === 'string' && typeof until === 'number' ? { tab, until } : null;
  } catch {
    return null;
  }
}

/** Whether this tab has the connection from now on. A lease from the future is of a clock that was set back. */
export function mayConnect(lease: TabLease | null, tab: string, nowMs: number): boolean {
  if (lease === null || lease.tab === tab) return true;
  return lease.until <= nowMs || lease.until > nowMs + 2 * leaseTimings.holdMs;
}
