"""Programs in C++ that are compiled once for each machine; knows neither models nor training."""
