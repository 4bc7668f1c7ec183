/** Minute of the day in a time zone of IANA's; of one that this machine does not know, by its own clock. */
export function minuteIn(zone: string, wallMs: number): number {
  try {
    const parts = new Intl.DateTimeFormat('en-GB', {
      timeZone: zone,
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    }).formatToParts(wallMs);
    const part = (type: string): number => Number(parts.find((one) => one.type === type)?.value ?? 0);
    return part('hour') * 60 + part('minute');
  } catch {
    const at = new Date(wallMs);
    return at.getHours() * 60 + at.getMinutes();
  }
}
