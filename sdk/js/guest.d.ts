/** What the component exports, made of a plugin's class. `deltaforge plugin build` calls this; plugins do not. */
export type Plugin = {
    /**
     * the defaults of the configuration. With them, a key that is not among them is
     * refused, as is a value of another type; without them the constructor is given what the pipeline says
     */
    config?: Record<string, any>;
    /**
     * patterns of
     * the tables it wants to see; the columns it reads and writes, for people; its configuration as JSON Schema
     */
    manifest?: {
        tables?: string[];
        reads?: string[];
        writes?: string[];
        configSchema?: object | string;
    };
    /**
     * formatters: what the bodies are [application/json]
     */
    contentType?: string;
};
export type PluginClass = Plugin & (new (config: any) => any);
/**
 * A configuration block over the defaults.
 *
 * @param {string} text
 * @param {Record<string, any>} [defaults]
 */
export declare function decodeConfig(text: string, defaults?: Record<string, any>): any;
/**
 * @param {PluginClass} Plugin
 * @param {{name: string, version: string, description: string}} project
 * @param {any} host
 */
export declare function processor(Plugin: PluginClass, project: {
    name: string;
    version: string;
    description: string;
}, host: any): {
    lifecycle: {
        describe: () => {
            name: string;
            version: string;
            description: string;
            tables: string[];
            reads: string[];
            writes: string[];
            configSchema: string;
        };
        /** @param {string} config */
        open: (config: string) => undefined;
    };
    processing: {
        process: (lent: any) => void;
    };
};
/**
 * @param {PluginClass} Plugin
 * @param {{name: string, version: string, description: string}} project
 * @param {any} host
 */
export declare function formatter(Plugin: PluginClass, project: {
    name: string;
    version: string;
    description: string;
}, host: any): {
    lifecycle: {
        describe: () => {
            name: string;
            version: string;
            description: string;
            tables: string[];
            reads: string[];
            writes: string[];
            configSchema: string;
        };
        /** @param {string} config */
        open: (config: string) => undefined;
    };
    formatting: {
        contentType: () => string;
        format: (lent: any) => {
            bodies: {
                present: Uint8Array<ArrayBuffer>;
                ends: Uint32Array<ArrayBuffer>;
                data: Uint8Array<ArrayBuffer>;
            };
            rejects: [number, string][];
        };
    };
};
