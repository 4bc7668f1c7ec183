const rfc3339 = /\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)/g;

/** A sentence with each instant in it as people here write it; `show` is given ms since the Unix epoch. */
export const timesAs = (text: string, show: (ms: number) => string): string =>
  text.replace(rfc3339, (time) => {
    const ms = Date.parse(time);
    return Number.isNaN(ms) ? time : show(ms);
  });
