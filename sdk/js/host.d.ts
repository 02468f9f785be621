/** What a component is given by its host, put here when it is built; natively there is nothing. */
/** @type {{log?: any, metrics?: any, clock?: any}} */
declare const host: {
    log?: any;
    metrics?: any;
    clock?: any;
};
/** @param {typeof host} given */
export declare function connect(given: typeof host): void;
/** Numbers for the host's metrics page, named `[a-z][a-z0-9_]*`. They need the grant `metrics`. */
export declare const metrics: {
    /** Adds to a counter. @param {string} counter @param {number | bigint} [delta] */
    add(counter: string, delta?: number | bigint): void;
    /** Sets a gauge. @param {string} gauge @param {number} value */
    set(gauge: string, value: number): void;
    /** Adds a value to a histogram. @param {string} histogram @param {number} value */
    observe(histogram: string, value: number): void;
};
/** The time. It needs the grant `clock`; `Date` does not know it. */
export declare const clock: {
    /** Microseconds since 1970-01-01T00:00Z. @returns {number} */
    now(): number;
    /** Nanoseconds, only for differences. @returns {bigint} */
    monotonic(): bigint;
};
export {};
