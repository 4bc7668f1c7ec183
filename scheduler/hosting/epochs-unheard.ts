/**
 * What a former era hosted without this ledger's knowledge had epochs of its own, which gates, hosts and markers remember as
 * closed: after a recovery by force the next one is above them all.
 */
export const epochsUnheard = 1000;
