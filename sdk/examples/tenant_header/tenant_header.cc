// Gives every request the header x-tenant with a configured value, and refuses clients that bring their own.
#include <extproc/plugin.hpp>

class TenantHeader : public extproc::Plugin {
 public:
  TenantHeader(const extproc::Config& config, extproc::Host& host)
      : header_(config.string_or("header", "x-tenant")),
        value_(config.required_string("value")),
        stamped_(host.counter("stamped_total", "Requests that were given the tenant header.")) {}

  struct Stream : extproc::Stream<TenantHeader> {
    using extproc::Stream<TenantHeader>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      if (headers.contains(plugin().header_))
        return extproc::reply(400, "clients may not choose their tenant\n");
      headers.set(plugin().header_, plugin().value_);
      plugin().stamped_.increment();
      return extproc::proceed();
    }
  };

 private:
  std::string header_, value_;
  extproc::Counter stamped_;
};

EXTPROC_EXPORT_PLUGIN(TenantHeader, "example.tenant-header", "1.0.0")
